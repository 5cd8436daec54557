"""HTTP on the wire, byte by byte: our server with an application that reports what it got, and the raw responses."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from support.plant import PATIENCE, pause
from support.reading import Request

from receiver.http.bodies import receive_body
from receiver.http.protocol.connection import Protocol
from receiver.http.protocol.framing import RequestReader
from receiver.http.protocol.heads import Head, MalformedRequest
from receiver.http.protocol.limits import Limits
from receiver.http.protocol.server import Server
from receiver.http.request_guard import RequestGuard
from receiver.http.telemetry import Metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence

    from starlette.types import ASGIApp, Receive, Scope, Send

MAX_BODY = 64 * 1024
REFUSING = "/refuses"


HOST = b"Host: a.example\r\n"
CHUNKED = b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"


def posted(*headers: bytes, body: bytes = b"") -> bytes:
    """Return a request with a body and these header lines."""
    return b"".join([b"POST /a HTTP/1.1\r\n", HOST, *(header + b"\r\n" for header in headers), b"\r\n", body])


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A request as the application got it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, kw_only=True)
class Response:
    """A response as it arrived."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> str:
        """The problem's name, or nothing if it is not a problem."""
        if self.headers.get("content-type") != "application/problem+json":
            return ""

        assert self.headers["cache-control"] == "no-store"
        document: dict[str, Any] = json.loads(self.body)
        assert document["status"] == self.status
        return str(document["type"]).removeprefix("urn:countersign:")

    @property
    def echo(self) -> dict[str, str]:
        """What the application reports about the request."""
        document: dict[str, str] = json.loads(self.body)
        return document


class Witness:
    """An application that records every request and reports it; below `/refuses` it does not read the body."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.app: ASGIApp = RequestGuard(self.answer, max_body=MAX_BODY, metrics=Metrics())

    def paths(self) -> list[str]:
        return [one.path for one in self.seen]

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["raw_path"].decode() + ("?" + scope["query_string"].decode() if scope["query_string"] else "")
        refuses = path.startswith(REFUSING)
        body = b"" if refuses else await receive_body(receive, limit=MAX_BODY)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self.seen.append(Seen(method=scope["method"], path=path, headers=headers, body=body))
        report = {"path": path, "marker": headers.get("x-marker", ""), "body": body.decode("latin-1")}
        content = json.dumps(report).encode()
        length = (b"content-length", b"%d" % len(content))
        await send({"type": "http.response.start", "status": 401 if refuses else 200, "headers": [length]})
        await send({"type": "http.response.body", "body": content})


class Running:
    """A server in this loop."""

    def __init__(self, server: Server, port: int) -> None:
        self.server = server
        self.port = port

    @property
    def connections(self) -> int:
        return len(self.server.server_state.connections)

    async def deserted(self) -> None:
        """Return once no connection is left."""
        async with asyncio.timeout(PATIENCE):
            while self.connections:
                await pause(0.01)

    def shut(self) -> None:
        """Start to stop, as on SIGTERM."""
        self.server.should_exit = True


@contextlib.asynccontextmanager
async def serving(
    app: ASGIApp,
    limits: Limits | None = None,
    http: Any = None,
    *,
    stopping: Callable[[], None] = lambda: None,
) -> AsyncIterator[Running]:
    """Serve the application in this loop on a free loopback port, by default with our own connection class."""
    server = Server(app, stopping=stopping)
    connection: Any = http or partial(Protocol, limits=limits or Limits())
    server.config.http = connection

    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = asyncio.create_task(server.serve([listener]))

        try:
            while not server.started:
                await pause(0.01)

            yield Running(server, listener.getsockname()[1])
        finally:
            server.should_exit = True
            await running


async def said(to: Running | int, *pieces: bytes, apart: float = 0.01, hang_up: bool = True) -> bytes:
    """Send these pieces, close the sending side unless `hang_up` is false, and return everything that comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", to if isinstance(to, int) else to.port)

    async def send() -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await pause(apart)

        if hang_up:
            writer.write_eof()

    sending = asyncio.create_task(send())

    try:
        async with asyncio.timeout(PATIENCE):
            return await reader.read()
    finally:
        sending.cancel()
        writer.close()

        with contextlib.suppress(OSError, asyncio.CancelledError):
            await sending


async def told(to: Running | int, *pieces: bytes, apart: float = 0.01, hang_up: bool = True) -> list[Response]:
    """As `said`, in answers."""
    return answers(await said(to, *pieces, apart=apart, hang_up=hang_up))


def answers(data: bytes, *, without_body: Sequence[bool] = ()) -> list[Response]:
    """Return the answers that these bytes are, and nothing else may they be; `without_body` are those to HEAD."""
    return list(_answers(data, [*without_body]))


def _answers(data: bytes, without_body: list[bool]) -> Iterator[Response]:

    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        assert end, f"a head without an end: {head!r}"
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status, _ = first.split(" ", 2)
        assert version == "HTTP/1.1"
        pairs = [line.split(": ", 1) for line in lines]
        headers = {name: value for name, value in pairs}  # noqa: C416 - pairs are lists
        assert len(headers) == len(pairs), f"a header twice: {pairs}"
        empty = int(status) < 200 or (without_body and without_body.pop(0))
        length = 0 if empty else int(headers["content-length"])
        body, data = data[:length], data[length:]
        assert len(body) == length, "a response that was cut off"
        yield Response(status=int(status), headers=headers, body=body)


class Reading:
    """The result of parsing pieces that arrive one after another."""

    def __init__(self) -> None:
        self.reader = RequestReader()
        self.requests: list[Request] = []
        self.refused = False
        self._head: Head | None = None
        self._body = b""

    def take(self, piece: bytes) -> None:
        self.reader.feed(piece)

        try:
            while self._go_on():
                pass
        except MalformedRequest:
            self.refused = True

    def _go_on(self) -> bool:
        if self._head is None:
            self._head = self.reader.head()
            self._body = b""
            return self._head is not None

        part = self.reader.body()
        self._body += part

        if not self.reader.complete:
            return bool(part)

        one, self._head = self._head, None
        self.requests.append(
            Request(one.method.encode(), one.path, one.query, one.version, one.headers, body=self._body)
        )
        return True


def read(pieces: Iterable[bytes]) -> Reading:
    reading = Reading()

    for piece in pieces:
        reading.take(piece)

    return reading


def accepted(data: bytes) -> list[Request]:
    reading = read([data])
    assert not reading.refused
    assert not reading.reader.begun
    return reading.requests
