"""An application behind the request guard, on a loopback socket, and requests byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections import Counter
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from receiver.http.bodies import json_body
from receiver.http.problems import Problem, exception_handlers
from receiver.http.request_guard import RequestGuard
from receiver.http.telemetry import Metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

#: The headers that the contract requires.
MAX_HEADERS = 100
MAX_HEADER_BYTES = 32 * 1024

LIMIT = 1000
SECRET = "not-for-logs"


class Edge:
    """The smallest guarded application; `effects` counts the endpoints that ran."""

    def __init__(self, body_seconds: float = 30.0) -> None:
        self.effects: Counter[str] = Counter()
        self.metrics = Metrics()
        routes = [
            Route("/ignores/{token}", self.ignores, methods=["GET", "POST", "DELETE"]),
            Route("/echo", self.echo, methods=["POST"]),
            Route("/refuses", self.refuses, methods=["POST"]),
            Route("/fails", self.fails),
            Route("/breaks", self.breaks),
            Route("/page", self.page),
        ]
        app = Starlette(routes=routes, exception_handlers=exception_handlers)
        app.router.redirect_slashes = False
        self.body_seconds = body_seconds
        self.guard = RequestGuard(app, max_body=LIMIT, metrics=self.metrics, body_seconds=body_seconds)
        self.finished = asyncio.Event()

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.guard(scope, receive, send)
        self.finished.set()

    async def ignores(self, _request: Request) -> Response:
        self.effects["ignores"] += 1
        return PlainTextResponse("done")

    async def echo(self, request: Request) -> Response:
        body = await json_body(request, limit=LIMIT, seconds=self.body_seconds)
        self.effects["echo"] += 1
        return JSONResponse(body.value)

    async def refuses(self, _request: Request) -> Response:
        raise Problem("invalid-token")

    async def fails(self, _request: Request) -> Response:
        raise ValueError(SECRET)

    async def breaks(self, _request: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            yield b"part"
            raise ValueError(SECRET)

        return StreamingResponse(parts())

    async def page(self, _request: Request) -> Response:
        return PlainTextResponse("page", headers={"Cache-Control": "max-age=9", "X-Content-Type-Options": "nosniff"})


@contextlib.asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[int]:
    """Serve `app` on a free loopback port, with the production server and parser."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, log_config=None, access_log=False, http="httptools", ws="none", lifespan="off", interface="asgi3"
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve([listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await task
        listener.close()


async def exchange(port: int, *parts: bytes, hang_up: bool = False) -> bytes:
    """Send raw bytes and return what came back until the server closed, or the end of the first response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            with contextlib.suppress(ConnectionError):
                await writer.drain()

        if hang_up:
            return b""

        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), None
        )
        return head + (await reader.read() if length is None else await reader.readexactly(length))
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def problem_of(answer: bytes) -> str:
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert b"content-type: application/problem+json" in lines
    assert lines.count(b"cache-control: no-store") == 1
    assert lines.count(b"x-content-type-options: nosniff") == 1
    document: dict[str, Any] = json.loads(body)
    assert int(head.split(b" ")[1]) == document["status"]
    return str(document["type"]).removeprefix("urn:countersign:")


def lines(*headers: str) -> bytes:
    return "".join(f"{header}\r\n" for header in ("Host: evil.example", *headers)).encode() + b"\r\n"
