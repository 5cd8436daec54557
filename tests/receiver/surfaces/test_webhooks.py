"""Third-party deliveries over HTTP, signed by the senders' own libraries: what they settle, and what is logged.

Long because every scheme signs the same deliveries.
"""

from __future__ import annotations

import asyncio
import base64
import pickle
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from support.edge import AUTHORISED, edge, minted, problem, untouched
from support.plant import pause
from support.posting import IN_BODY, Post
from support.senders import SIGNED, senders, sources_file

from orchestrator.callbacks.tokens import TokenSigner
from orchestrator.config.secret import Secret
from receiver.senders.deliveries import CUT

if TYPE_CHECKING:
    from pathlib import Path


# -- settling -----------------------------------------------------------------


@pytest.mark.parametrize("name", SIGNED)
async def test_a_signed_delivery_settles_the_wait_that_its_path_names(post: Post, name: str) -> None:
    token = await post.here.asked()
    answer = await post.deliver(name, {"paid": [1, 2.5, "é"]}, token=token)

    assert answer.status_code == 200
    document = answer.json()
    assert document.pop("settled_at").endswith("Z")
    assert document == {"state": "settled", "duplicate": False, "callback": "answer"}
    assert (await post.here.ended())["result"] == {
        "kind": "succeeded",
        "value": {"paid": [1, 2.5, "é"]},
        "by": "webhook",
    }


@pytest.mark.parametrize("name", SIGNED)
async def test_a_token_in_the_signed_body_settles_its_wait_and_is_cut_out_before_the_body_is_stored(
    inside: Post, name: str
) -> None:
    token = await inside.here.asked()
    body = {"meta": {"token": token, "link": f"https://x/{token}?a"}, token: 1, "n": 1.0}

    assert (await inside.deliver(name, body)).json()["state"] == "settled"
    assert (await inside.here.ended())["result"]["value"] == {
        "meta": {"token": CUT, "link": f"https://x/{CUT}?a"},
        CUT: 1,
        "n": 1.0,
    }
    assert token not in repr(await inside.here.engine.promises.get("ask.1:1"))


async def test_a_token_is_cut_out_in_whatever_spelling_it_stands(inside: Post) -> None:
    token = await inside.here.asked()
    spelt = "".join(f"\\u{ord(char):04x}" for char in token)
    body = f'{{"meta": {{"token": "{spelt}"}}, "n": 12345678901234567890.10, "quote": "\\"{token}\\\\"}}'

    assert (await inside.deliver("github", body)).status_code == 200
    settled: Any = (await inside.here.engine.promises.get("ask.1:1")).value.data
    assert settled["body"] == f'{{"meta": {{"token": "{CUT}"}}, "n": 12345678901234567890.10, "quote": "\\"{CUT}\\\\"}}'


@pytest.mark.parametrize("name", SIGNED)
async def test_the_same_bytes_again_are_a_duplicate(post: Post, name: str) -> None:
    token = await post.here.asked()
    moment = int(time.time())
    first = await post.deliver(name, {"a": 1}, token=token, moment=moment)
    again = await post.deliver(name, {"a": 1}, token=token, moment=moment)

    assert again.status_code == 200
    assert again.json() == first.json() | {"duplicate": True}


@pytest.mark.parametrize("name", SIGNED)
async def test_a_senders_own_retry_at_another_time_is_a_duplicate(post: Post, name: str) -> None:
    token = await post.here.asked()
    await post.deliver(name, {"a": 1}, token=token)

    assert (await post.deliver(name, {"a": 1}, token=token, moment=int(time.time()) - 60)).json()["duplicate"] is True


async def test_of_a_hundred_equal_deliveries_at_once_one_is_applied(post: Post) -> None:
    token = await post.here.asked()
    answers = await asyncio.gather(*(post.deliver("github", {"n": 1}, token=token) for _ in range(100)))

    assert [answer.json()["duplicate"] for answer in answers].count(False) == 1
    assert {answer.status_code for answer in answers} == {200}


async def test_of_a_hundred_different_deliveries_at_once_one_is_applied(post: Post) -> None:
    token = await post.here.asked()
    answers = await asyncio.gather(*(post.deliver("github", {"n": n}, token=token) for n in range(100)))

    (applied,) = (n for n, answer in enumerate(answers) if answer.json()["state"] == "settled")
    assert {answer.status_code for answer in answers} == {200}
    assert (await post.here.ended())["result"]["value"] == {"n": applied}


async def test_a_delivery_is_settled_before_it_is_acknowledged(post: Post) -> None:
    token = await post.here.asked()

    assert (await post.deliver("stripe", 1, token=token)).status_code == 200
    assert not await untouched(post.here)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.exit, ("a payload was unpickled",))


async def test_a_pickle_in_a_delivery_is_plain_data_to_the_workflow(post: Post) -> None:
    payload = base64.b64encode(pickle.dumps(Bomb())).decode()
    body = {"__type": "error", "message": "x", "__py_pickle": payload}
    token = await post.here.asked()

    assert (await post.deliver("github", body, token=token)).status_code == 200
    assert (await post.here.ended())["result"]["value"] == body


# -- tokens, sources and sizes ------------------------------------------------


@pytest.mark.parametrize("place", ["post", "inside"])
async def test_a_signed_delivery_with_a_bad_token_is_told_so(
    place: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    known = senders()
    lines = IN_BODY if place == "inside" else ""
    async with edge(tmp_path, SOURCES=sources_file(tmp_path, known, lines)) as here:
        post = Post(here, known)
        links = minted(here)
        token = await here.asked()
        claims = links.signer.verify(token, audience="machine")
        bad: list[Callable[[], str]] = [
            lambda: token[:-1],
            lambda: "nonsense",
            lambda: "ask.1:1",
            lambda: "A" * 5000,
            lambda: TokenSigner([Secret(secrets.token_bytes(32))]).mint(claims),
            lambda: links.signer.mint(replace(claims, audience="approver")),
            lambda: links.signer.mint(replace(claims, promise_id="ask.1")),
            lambda: links.signer.mint(replace(claims, outcomes=("failed",))),
        ]

        for make in bad:
            body: object = {"meta": {"token": make()}} if place == "inside" else {}
            answer = await post.deliver("github", body, token=None if place == "inside" else make())
            problem(answer, 400, "bad-token")

        without: list[object] = [{}, {"meta": 1}, {"meta": {"token": 1}}, {"meta": {"token": [token]}}, [], None]
        for nothing in without:
            problem(await post.deliver("github", nothing), 400, "bad-token")

        assert await untouched(post.here)


async def test_a_token_in_the_path_where_it_should_stand_in_the_body_is_refused(inside: Post) -> None:
    token = await inside.here.asked()

    problem(await inside.deliver("github", {"meta": {"token": token}}, token=token), 400, "two-tokens")
    assert await untouched(inside.here)


async def test_a_foreign_source_is_not_found(post: Post) -> None:
    for path in ("/webhooks/nobody", "/webhooks/nobody/x", "/webhooks/GitHub"):
        problem(await post.here.client.post(path, content="{}"), 404, "unknown-source")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
async def test_another_method_is_refused(post: Post, method: str) -> None:
    answer = await post.here.client.request(method, "/webhooks/github")

    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


async def test_a_body_over_the_limit_is_refused(post: Post) -> None:
    token = await post.here.asked()

    problem(await post.deliver("github", "1" * 65_537, token=token), 413, "too-large")
    assert await untouched(post.here)


# -- an unreachable engine ----------------------------------------------------


@pytest.mark.parametrize("lines", ["", IN_BODY])
async def test_while_the_engine_is_away_senders_are_told_to_come_back_and_the_retry_settles(
    tmp_path: Path, lines: str
) -> None:
    known = senders()
    async with edge(tmp_path, SOURCES=sources_file(tmp_path, known, lines), ENGINE_TIMEOUT="1") as here:
        post = Post(here, known)
        token = await here.asked()
        in_path = None if lines else token
        body = {"meta": {"token": token}}
        connection: Any = here.engine.resonate._network
        ask = connection.ask

        # Else it is the worker that the engine leaves without a reply, while it suspends the workflow.
        while connection.state.tasks["ask.1"].state != "suspended":
            await pause(0.02)

        connection.ask = silent  # the wait itself is at hand: only its settlement is a request
        answer = await post.deliver("stripe", body, token=in_path)
        problem(answer, 503, "engine-unavailable")

        assert int(answer.headers["retry-after"]) > 0

        connection.ask = ask
        assert (await post.deliver("stripe", body, token=in_path)).json()["state"] == "settled"
        assert (await here.ended())["result"]["by"] == "webhook"


async def silent(*_: Any) -> None:
    await pause(3600)


# -- what is said of it -------------------------------------------------------


async def test_no_log_line_holds_a_token_a_secret_or_a_body(post: Post, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    first, second = await post.here.asked("1"), await post.here.asked("2")

    for token in (first, first, second):
        await post.deliver("github", {"marker": "body-of-it"}, token=token)

    await post.send("github", "body-of-it", {"X-Hub-Signature-256": "marker-of-a-signature"}, token=first)
    text = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("receiver"))

    assert "that is bound to another wait came again for ask.2:1" in text
    assert "was refused" in text
    assert not any(one in text for one in (first, second, post.known["github"].secret, "body-of-it", "marker-of"))


async def test_deliveries_are_counted_by_what_became_of_them(post: Post) -> None:
    token = await post.here.asked()
    await post.deliver("github", 1, token=token)
    await post.deliver("github", 1, token=token)
    await post.send("github", "1", {}, token=token)
    text = (await post.here.client.get("/metrics", headers=AUTHORISED)).text

    for outcome, count in (("settled", 1), ("duplicate", 1), ("refused", 1), ("over", 0)):
        assert f'countersign_webhooks_total{{outcome="{outcome}"}} {count}.0' in text
