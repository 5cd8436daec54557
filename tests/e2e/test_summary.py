"""From the API to a page, a model and a mail server, and back: one summary, twice rejected and then approved."""

from __future__ import annotations

import contextlib
import json
import re
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from support.approving import ADA, desk, link_in, seen
from support.browsing import LAPTOP, PHONE, chromium, listening, opened
from support.chatting import KEY as MODEL_KEY
from support.chatting import SILENCE, ChatServer, chat_server, says
from support.configuration import API_KEY, environment, fresh_key
from support.plant import PATIENCE, pause
from support.postbox import PASSWORD, Postbox, server
from support.summarising import PAGE, TEXT
from support.websites import response, website

from orchestrator.config.settings import load_settings
from orchestrator.engine import connect
from orchestrator.runs.cancellation import request_cancel
from orchestrator.testing.processes import free_port
from orchestrator.worker import dependencies_opened, prepare_worker
from orchestrator.workflows import summarize_website
from receiver.app import create_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

KEY = {"Authorization": f"Bearer {API_KEY}"}


@contextlib.asynccontextmanager
async def service(directory: Path, engine_url: str, variables: dict[str, str]) -> AsyncIterator[httpx2.AsyncClient]:
    """Run the service and a worker, all of it from its settings."""
    chosen = load_settings(variables, directory)
    engine = await connect(chosen, work=True)
    prepare_worker(engine, chosen, [summarize_website])
    app = create_app(chosen, engine, {summarize_website.name: summarize_website})
    transport = httpx2.ASGITransport(app=app)

    async with (
        dependencies_opened(engine, [summarize_website]),
        httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000", timeout=PATIENCE) as client,
    ):
        engine.start()

        try:
            yield client
        finally:
            await engine.stop()


def variables_of(engine_url: str, chat: ChatServer, port: int, certificate: Path) -> dict[str, str]:
    mail = f"smtp://countersign:{PASSWORD.replace(' ', '%20')}@localhost:{port}?from=asks@example.org"
    given = environment(engine_url, LLM=chat.setting, FETCH_ALLOW="127.0.0.0/8", MAIL=mail, PAYLOAD_KEYS=fresh_key())

    return given | {"SSL_CERT_FILE": str(certificate)}


async def link_of_mail(postbox: Postbox, number: int) -> str:
    while len(postbox.messages) < number:
        await pause(0.02)

    mail = postbox.messages[number - 1]
    plain = mail.get_body(("plain",))
    assert plain is not None
    assert mail["To"] == ADA
    return link_in(plain.get_content().replace("\r\n", "\n"))


async def test_a_summary_from_the_start_to_the_approval(
    tmp_path: Path,
    engine_url: str,
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    postbox = Postbox()

    with server(postbox, certificate) as port:
        async with website({"/keys": PAGE}) as site, chat_server() as chat:
            variables = variables_of(engine_url, chat, port, certificate)

            async with service(tmp_path, engine_url, variables) as client:
                await begun(client, site.url("/keys"))
                await rejected(client, await link_of_mail(postbox, 1), 1)
                await rejected(client, await link_of_mail(postbox, 2), 2)
                third = await link_of_mail(postbox, 3)

                if engine_url == "memory://":
                    await approved(client, third)

            if engine_url != "memory://":
                # Another process goes on.
                async with service(tmp_path, engine_url, variables) as client:
                    await approved(client, third)

            assert [call.path for call in chat.calls] == ["/v1/chat/completions"] * 3
            assert TEXT.decode() in chat.calls[0].prompt
            assert "Comment 1." in chat.calls[2].prompt
            assert len(site.requests) == 1

    assert MODEL_KEY not in caplog.text


async def test_a_cancel_ends_a_question_that_the_model_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    async with (
        website({"/keys": PAGE}) as site,
        chat_server([SILENCE]) as chat,
        desk(tmp_path, workflows=[summarize_website], LLM=chat.setting, FETCH_ALLOW="127.0.0.0/8") as here,
        dependencies_opened(here.engine, [summarize_website]),
    ):
        await here.start(summarize_website, "1", url=site.url("/keys"), reviewer=ADA)

        while not chat.calls:
            await pause(0.02)

        await request_cancel(here.engine, "summarize_website.1")
        assert (await here.ended(name="summarize_website"))["state"] == "cancelled"
        assert len(chat.calls) == 1
        assert here.letters.sent == []


LONG = "The page explains how values are signed, so that nobody can change them on their way. " * 12
ARTICLE = "".join(f"<h2>Part {number}</h2><p>{LONG}</p><pre>{'x' * 300}</pre>" for number in range(30))
HTML = response(f"<title>Signing</title><article>{ARTICLE}</article>".encode())


@pytest.mark.parametrize("look", [{"viewport": PHONE}, {"viewport": LAPTOP, "color_scheme": "dark"}])
async def test_a_long_page_is_reviewed_in_a_browser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    said = [says(LONG), says(f"{LONG}<b onclick=alert(1)>bold</b>\n\n{'y' * 500}")]

    async with (
        chromium() as browser,
        website({"/signing": HTML}) as site,
        chat_server(said) as chat,
        desk(
            tmp_path, workflows=[summarize_website], PUBLIC_URL=url, LLM=chat.setting, FETCH_ALLOW="127.0.0.0/8"
        ) as here,
        dependencies_opened(here.engine, [summarize_website]),
        listening(here.app, port),
    ):
        await here.start(summarize_website, "1", url=site.url("/signing"), reviewer=ADA)
        page = await opened(browser, url + await here.link(), **look)
        assert await page.get_by_text("the first 12,000 of").is_visible()

        await page.get_by_role("button", name="Reject").click()
        assert "needs a reason" in await page.get_by_role("alert").inner_text()
        await page.get_by_role("textbox").fill("Shorter, please.")
        await page.get_by_role("button", name="Reject").click()
        assert "Rejected" in await page.get_by_role("heading", level=1).inner_text()

        await page.goto(url + await here.link(number=1))
        shown = await page.inner_text("main")
        assert "Written by the language model small:7b." in shown
        assert "<b onclick=alert(1)>bold</b>" in shown
        assert "Shorter, please." in shown
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")

        await page.get_by_role("button", name="Approve").click()
        assert (await here.ended(name="summarize_website"))["result"]["rounds"] == 2


async def begun(client: httpx2.AsyncClient, url: str) -> None:
    started = await client.put(
        "/workflows/summarize_website/1",
        content=json.dumps({"url": url, "reviewer": ADA}),
        headers=KEY | {"Content-Type": "application/json"},
    )
    assert (started.status_code, started.json()["state"]) == (201, "running")


async def rejected(client: httpx2.AsyncClient, link: str, number: int) -> None:
    """Reject the summary of a round: without a comment that is refused, and nothing is recorded."""
    page = seen(await client.get(link))
    assert f"Summary {number}." in page
    assert f"Round {number} of 3" in page
    assert ("Comment on round 1 Comment 1." in page) == (number > 1)
    refused = await client.post(link, data={"decision": "reject", "comment": " "})
    assert refused.status_code == 422
    assert "needs a reason" in refused.text
    answer = await client.post(link, data={"decision": "reject", "comment": f"Comment {number}."})
    assert answer.status_code == 303


async def approved(client: httpx2.AsyncClient, link: str) -> None:
    answer = await client.post(link, data={"decision": "approve"})
    assert answer.status_code == 303
    document: dict[str, Any] = (
        await client.get("/workflows/summarize_website/1?steps=1", headers=KEY | {"Prefer": "wait=20"})
    ).json()
    assert document["state"] == "succeeded"
    assert document["result"] == {"status": "approved", "summary": "Summary 3.", "rounds": 3}
    assert not re.search(r"/approvals/|hunter", json.dumps(document))
