"""The whole service with a workflow that asks people, on any engine; its mail is collected in a list."""

from __future__ import annotations

import contextlib
import html
import json
import re
from dataclasses import asdict, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

import httpx2
from pydantic import BaseModel
from support.configuration import API_KEY, settings
from support.plant import PATIENCE, pause

from orchestrator import Context, Question, ask_people, workflow
from orchestrator.callbacks.address import Links
from orchestrator.config.settings import MailAddress
from orchestrator.engine import connect
from orchestrator.errors import StepUnavailable
from orchestrator.mail.mailer import Mailer
from orchestrator.mail.message import Message
from orchestrator.runs.roots import start_root
from orchestrator.worker import prepare_worker
from orchestrator.workflows import approve_and_ship
from receiver.app import create_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from orchestrator.callbacks.claims import Claims
    from orchestrator.callbacks.tokens import TokenSigner
    from orchestrator.config.secret import Secret
    from orchestrator.databricks.jobs import Databricks
    from orchestrator.engine import Engine
    from orchestrator.runs.definition import Workflow

_QUESTION = {"title", "text", "facts", "links", "decisions", "code", "reason_required", "requester"}

ADA, BOB, CAT = "ada@example.org", "bob@example.org", "cat@example.org"


class Consultation(BaseModel):
    """What the tests' workflow asks, and whom."""

    people: list[str] = [ADA]
    title: str = "Ship it?"
    text: str = "All tests are green."
    facts: list[tuple[str, str]] = [("Order", "42")]
    links: list[tuple[str, str]] = []
    decisions: list[str] = ["approve", "reject"]
    code: bool = False
    reason_required: list[str] = []
    requester: str = ""
    need: Literal["any", "all"] = "any"
    deadline: float = 3600
    remind_after: float | None = None


@workflow()
async def consult(ctx: Context, request: Consultation) -> dict[str, Any]:
    """Ask people, and return what they decided."""
    asked = await ask_people(
        ctx,
        "question",
        Question(**request.model_dump(include=_QUESTION)),
        request.people,
        need=request.need,
        deadline=timedelta(seconds=request.deadline),
        remind_after=None if request.remind_after is None else timedelta(seconds=request.remind_after),
    )

    return asdict(asked)


class Letters:
    """A mailer that collects messages instead of sending them; a test can make it unavailable or refuse."""

    def __init__(self) -> None:
        self.mailer = Mailer(MailAddress(kind="console"))
        self.mailer.send = self.send  # type: ignore[method-assign]
        self.sent: list[tuple[str, Message]] = []
        self.error: Exception | None = None
        self.outages = 0

    async def send(self, message: Message, *, message_id: str) -> None:
        if self.outages:
            self.outages -= 1
            raise StepUnavailable("the mail server is unavailable")

        if self.error is not None:
            raise self.error

        self.sent.append((message_id, message))

    def to(self, person: str) -> list[Message]:
        return [message for _, message in self.sent if message.to == person]


class Desk:
    """The service: its application, a client, its engine and its mail."""

    def __init__(self, app: Any, engine: Engine, letters: Letters, keys: tuple[Secret, ...]) -> None:
        self.keys = keys
        self.app = app
        self.engine = engine
        self.letters = letters
        transport = httpx2.ASGITransport(app=app)
        self.client = httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000", timeout=PATIENCE)

    async def ask(self, workflow_id: str = "1", **consultation: Any) -> str:
        """Start the workflow and return the first person's link, as a path."""
        asked = Consultation(**consultation)
        await self.start(consult, workflow_id, **asked.model_dump(mode="json"))

        links = [await self.link(person) for person in asked.people]

        return links[0]

    async def start(self, one: Workflow[Any], workflow_id: str, **request: Any) -> None:
        await start_root(
            self.engine,
            name=one.name,
            workflow_id=workflow_id,
            text=json.dumps(request),
            group=one.group,
            timeout=one.timeout,
        )

    async def letter(self, person: str = ADA, *, number: int = 0) -> Message:
        """Return the mail that this person got, once it has arrived."""
        for _ in range(int(PATIENCE * 50)):
            if len(letters := self.letters.to(person)) > number:
                return letters[number]

            await pause(0.02)

        raise TimeoutError(person)

    async def link(self, person: str = ADA, *, number: int = 0) -> str:
        return link_in((await self.letter(person, number=number)).text)

    async def post(self, link: str, decision: str = "approve", **fields: Any) -> httpx2.Response:
        headers = fields.pop("headers", {})
        return await self.client.post(link, data={"decision": decision, **fields}, headers=headers)

    async def ended(
        self, workflow_id: str = "1", name: str = "consult", *, steps: bool = False, wait: int = 20
    ) -> dict[str, Any]:
        answer = await self.client.get(
            f"/workflows/{name}/{workflow_id}{'?steps=1' if steps else ''}",
            headers={"Authorization": f"Bearer {API_KEY}", "Prefer": f"wait={wait}"},
        )
        document: dict[str, Any] = answer.json()
        return document

    async def state(self, promise_id: str = "consult.1:1") -> str:
        return (await self.engine.promises.get(promise_id)).state


def link_in(text: str) -> str:
    """Return the path of the link in a mail's text."""
    found = re.search(r"^http://127\.0\.0\.1:\d+(/approvals/\S+)$", text, re.MULTILINE)
    assert found, text
    return found[1]


def code_in(text: str) -> str:
    # Not a piece of the link, which may look like one.
    found = re.search(r"(?<![\w-])[A-Z2-9]{4}-[A-Z2-9]{4}(?![\w-])", text)
    assert found, text
    return found[0]


def seen(answer: httpx2.Response, status: int = 200) -> str:
    """Check that this is a page with all its headers, and return what it shows, without markup and style."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-robots-tag"] == "noindex, nofollow"
    assert answer.headers["x-content-type-options"] == "nosniff"
    nonce = re.search(r'<style nonce="([\w-]{16,})">', answer.text)
    assert nonce
    assert answer.headers["content-security-policy"] == (
        f"default-src 'none'; style-src 'nonce-{nonce[1]}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    assert "<script" not in answer.text.lower()
    body = answer.text[answer.text.index("<main>") :]
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())


@contextlib.asynccontextmanager
async def desk(
    directory: Path,
    engine_url: str = "memory://",
    *,
    workflows: Sequence[Workflow[Any]] = (consult, approve_and_ship),
    working: bool = True,
    databricks: Databricks | None = None,
    **variables: str | None,
) -> AsyncIterator[Desk]:
    """Run the service with a worker in this process; with `working=False` it takes no tasks."""
    chosen = settings(directory, engine_url, **variables)
    engine = await connect(chosen, work=True)
    letters = Letters()
    prepare_worker(engine, chosen, workflows, databricks=databricks, mailer=letters.mailer)

    if working:
        engine.start()

    one = Desk(
        create_app(chosen, engine, {each.name: each for each in workflows}), engine, letters, chosen.signing_keys
    )
    try:
        yield one
    finally:
        await one.client.aclose()
        await engine.stop()


def signer(here: Desk) -> TokenSigner:
    """Return the signer of this service's links."""
    links: Links = here.engine.resonate._deps.get(Links)
    return links.signer


def claims_of(here: Desk, link: str) -> Claims:
    """Return the claims in this link."""
    return signer(here).verify(link.rpartition("/")[2], audience="approver")


def forged(here: Desk, link: str, **changed: Any) -> str:
    """Return the path of a link with changed claims, signed with the service's own key."""
    return f"/approvals/{signer(here).mint(replace(claims_of(here, link), **changed))}"
