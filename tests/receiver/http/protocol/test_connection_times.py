"""The time limits of a connection in production, measured on a loop that does not wait."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from support.plant import pause
from support.skipping import SKIPPING
from support.wire import REFUSING, Witness, answers

from receiver.http.protocol.connection import Protocol
from receiver.http.protocol.server import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from conftest import Start
    from starlette.types import ASGIApp, Receive, Scope, Send

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return SKIPPING


@dataclass(frozen=True, kw_only=True)
class Line:
    """Both ends of a connection. What one end sends arrives at the other end at once, so that no time passes."""

    server: asyncio.BaseTransport
    client: socket.socket

    async def receive(self) -> bytes:
        """Return the next bytes; nothing if the server has ended its side."""
        return await asyncio.get_running_loop().sock_recv(self.client, 1 << 20)

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.client, data)


@contextlib.asynccontextmanager
async def connected(app: ASGIApp) -> AsyncIterator[Line]:
    server = Server(app, stopping=lambda: None)
    server.config.load()
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
        lambda: Protocol(server.config, server.server_state, {}), ours
    )
    try:
        yield Line(server=transport, client=theirs)
    finally:
        transport.abort()
        theirs.close()
        await pause(0)


async def seconds_until_nothing_comes(line: Line) -> tuple[float, bytes]:
    """Return how long it takes until the server ends its side, and what it sent until then."""
    began, said = asyncio.get_running_loop().time(), b""

    while data := await line.receive():
        said += data

    return asyncio.get_running_loop().time() - began, said


async def seconds_until_closed(line: Line) -> float:
    began = asyncio.get_running_loop().time()

    while not line.server.is_closing():
        await pause(0.1)

    return asyncio.get_running_loop().time() - began


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nHost: a\r\n", b"\r\n"])
async def test_a_head_has_30_seconds(start: Start, begun: bytes) -> None:
    log = start("info")

    async with connected(Witness().app) as line:
        await line.send(begun)
        seconds, said = await seconds_until_nothing_comes(line)

    assert seconds == pytest.approx(30)
    assert [one.problem for one in answers(said)] == ["request-timeout"]
    assert " other unmatched 408 client=-: The headers did not arrive within 30 seconds." in log.getvalue()


async def test_an_idle_connection_has_75_seconds() -> None:
    async with connected(Witness().app) as line:
        await line.send(GET)
        assert await line.receive()
        seconds, said = await seconds_until_nothing_comes(line)

    assert seconds == pytest.approx(75)
    assert said == b""


async def test_the_rest_of_an_answered_body_has_5_seconds() -> None:
    async with connected(Witness().app) as line:
        await line.send(f"POST {REFUSING} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n".encode())
        assert await line.receive()
        seconds, said = await seconds_until_nothing_comes(line)

    assert seconds == pytest.approx(5)
    assert said == b""


async def test_a_client_that_does_not_close_has_5_seconds() -> None:
    async with connected(Witness().app) as line:
        await line.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        await seconds_until_nothing_comes(line)

        assert await seconds_until_closed(line) == pytest.approx(5, abs=0.2)


async def test_a_client_that_does_not_read_has_30_seconds() -> None:
    async def large(_: Scope, receive: Receive, send: Send) -> None:
        content = b"a" * 3_000_000
        length = (b"content-length", b"%d" % len(content))
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": content})

    async with connected(large) as line:
        await line.send(GET)

        assert await seconds_until_closed(line) == pytest.approx(30, abs=0.2)
