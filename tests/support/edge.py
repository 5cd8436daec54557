"""The receiver's application in this process, over any engine, with a workflow that asks one question."""

from __future__ import annotations

import contextlib
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx2
from pydantic import BaseModel, ConfigDict
from support.configuration import API_KEY, settings
from support.plant import PATIENCE, pause

from orchestrator import Address, Context, open_callback, workflow
from orchestrator.callbacks.address import Links
from orchestrator.engine import connect
from orchestrator.errors import UnknownPromise
from orchestrator.runs.roots import start_root
from orchestrator.worker import prepare_worker
from receiver.app import create_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from orchestrator.engine import Engine
    from orchestrator.runs.definition import Workflow

#: The workflow that most tests start.
ASK = "/workflows/ask/1"
JSON = {"Content-Type": "application/json"}
AUTHORISED = {"Authorization": f"Bearer {API_KEY}"}


class Question(BaseModel):
    """The input of the tests' workflow."""

    model_config = ConfigDict(extra="forbid")

    name: str = "answer"
    deadline: float = 60.0
    audience: str = "machine"
    breaks: str | None = None


class Outbox:
    """Where the tests' workflow hands out its links, by promise id."""

    def __init__(self) -> None:
        self.links: dict[str, str] = {}


@workflow()
async def ask(ctx: Context, request: Question) -> dict[str, Any]:
    """Ask one question and return its outcome."""
    if request.breaks:
        raise RuntimeError(request.breaks)

    callback = await open_callback(
        ctx,
        request.name,
        deadline=timedelta(seconds=request.deadline),
        audience=request.audience,  # type: ignore[arg-type]
        subject="a test",
    )
    await ctx.run(hand_out, callback.address)
    outcome = await callback

    return {"kind": outcome.kind, "value": outcome.value, "by": outcome.by}


async def hand_out(ctx: Context, address: Address) -> None:
    ctx.get_dependency(Outbox).links[address.promise_id] = await address.url(ctx)


class Edge:
    """The application, a client of it, and its engine."""

    def __init__(self, app: Any, engine: Engine, outbox: Outbox) -> None:
        self.app = app
        self.engine = engine
        self.outbox = outbox
        self.client = self.another_client()

    def another_client(self) -> httpx2.AsyncClient:
        transport = httpx2.ASGITransport(app=self.app)
        return httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000", timeout=PATIENCE)

    async def asked(self, workflow_id: str = "1", **question: Any) -> str:
        """Start the workflow and return the token of its wait."""
        await start_root(
            self.engine,
            name="ask",
            workflow_id=workflow_id,
            text=Question(**question).model_dump_json(),
            group="default",
            timeout=timedelta(days=1),
        )

        return await self.token(workflow_id)

    async def token(self, workflow_id: str = "1") -> str:
        """Return the token of the workflow's callback once it was handed out."""
        for _ in range(int(PATIENCE * 50)):
            if (link := self.outbox.links.get(f"ask.{workflow_id}:1")) is not None:
                return link.rpartition("/")[2]

            await pause(0.02)

        raise UnknownPromise(workflow_id)

    async def post(self, token: str, body: object = None, **options: Any) -> httpx2.Response:
        """Present the token as a bearer with this JSON body."""
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"} | options.pop("headers", {})
        path = options.pop("path", "/callbacks")
        return await self.client.post(path, content=json.dumps(body), headers=headers, **options)

    async def ended(self, workflow_id: str = "1") -> dict[str, Any]:
        answer = await self.client.get(f"/workflows/ask/{workflow_id}", headers=AUTHORISED | {"Prefer": "wait=20"})
        document: dict[str, Any] = answer.json()
        return document


@contextlib.asynccontextmanager
async def edge(
    directory: Path,
    engine_url: str = "memory://",
    *,
    workflows: Sequence[Workflow[Any]] = (),
    **variables: str | None,
) -> AsyncIterator[Edge]:
    """Run the application with a worker in this process, for `ask` and the workflows given."""
    chosen = settings(directory, engine_url, **variables)
    engine = await connect(chosen, work=True)
    outbox = Outbox()
    engine.resonate.with_dependency(outbox)
    known = [ask, *workflows]
    prepare_worker(engine, chosen, known)
    engine.start()
    one = Edge(create_app(chosen, engine, {each.name: each for each in known}), engine, outbox)
    try:
        yield one
    finally:
        await one.client.aclose()
        await engine.stop()


def minted(edge: Edge) -> Links:
    """Return the object that mints the application's links."""
    links: Links = edge.engine.resonate._deps.get(Links)
    return links


def problem(answer: httpx2.Response, status: int, name: str) -> dict[str, Any]:
    """Check that the response is this problem document, and return it."""
    document: dict[str, Any] = answer.json()
    assert (answer.status_code, document["type"]) == (status, f"urn:countersign:{name}")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert document["status"] == status
    return document


async def put(here: Edge, path: str = ASK, body: Any = None, **headers: str) -> httpx2.Response:
    """Start a workflow."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await here.client.put(path, json=body if body is not None else {}, headers=AUTHORISED | named)


async def get(here: Edge, path: str = ASK, **headers: str) -> httpx2.Response:
    """Read a workflow."""
    return await here.client.get(path, headers=AUTHORISED | headers)


async def untouched(here: Edge, workflow_id: str = "1") -> bool:
    """Return whether the wait of this workflow is still open."""
    return (await here.engine.promises.get(f"ask.{workflow_id}:1")).state == "pending"
