"""Listening to a Resonate server that is silent, refuses, ends the connection or is unreachable."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import ClientTimeout

from orchestrator.config.secret import Secret
from orchestrator.engine.remote.server import ServerListener
from orchestrator.testing.processes import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from conftest import Start

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


def event(text: str) -> bytes:
    data = f"data: {text}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(data), data)


class Script:
    """A server that does something different at every connection, and records the requests."""

    def __init__(self, *turns: bytes, end: bool = False) -> None:
        self.turns = list(turns)
        self.end = end
        self.requests: list[str] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(self.turns.pop(0) if self.turns else HEAD)

        with contextlib.suppress(OSError):
            await writer.drain()

            if not self.end:
                await reader.read()

        writer.close()


@contextlib.asynccontextmanager
async def listening(script: Script, *, silence: float = 30, port: int = 0) -> AsyncIterator[list[str]]:
    heard: list[str] = []
    server = await asyncio.start_server(script, "127.0.0.1", port)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    listener = ServerListener(address, group="db", pid="one", token=Secret("a-token"), silence=silence)
    listener.recv(heard.append)

    async with server:
        await listener.start()
        yield heard
        await listener.stop()


async def true_soon(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - a server and a client take turns
            await asyncio.sleep(0.01)


async def test_it_receives_the_messages_of_its_group_and_sends_its_token() -> None:
    script = Script(HEAD + event("a") + event("b"))

    async with listening(script) as heard:
        await true_soon(lambda: heard == ["a", "b"])

    assert script.requests[0].startswith("GET /poll/db/one ")
    assert "Authorization: Bearer a-token" in script.requests[0]


async def test_it_reconnects_when_the_server_was_silent_for_too_long() -> None:
    # Any number of times: on a busy machine the client may count silence that the server did not cause.
    script = Script(HEAD + event("a"), *[HEAD + event("b")] * 100)

    async with listening(script, silence=0.1) as heard:
        await true_soon(lambda: "b" in heard)

    assert len(script.requests) > 1


@pytest.mark.parametrize("trouble", [BUSY, b"", HEAD + b"zz\r\n", b"nonsense\r\n\r\n"])
async def test_whatever_the_server_does_it_reconnects_and_logs_no_token(
    caplog: pytest.LogCaptureFixture, trouble: bytes
) -> None:
    script = Script(trouble, HEAD + event("a"), end=True)

    async with listening(script) as heard:
        # The client library retries once by itself if there was no response; the end of the second try is logged.
        await true_soon(lambda: "a" in heard and "trying again" in caplog.text)

    assert "a-token" not in caplog.text


async def test_a_redirect_is_not_followed(caplog: pytest.LogCaptureFixture) -> None:
    elsewhere = Script(HEAD + event("b"))

    async with await asyncio.start_server(elsewhere, "127.0.0.1", 0) as other:
        place = f"http://127.0.0.1:{other.sockets[0].getsockname()[1]}/"
        moved = f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode()

        async with listening(Script(moved, HEAD + event("a"), end=True)) as heard:
            await true_soon(lambda: "a" in heard)

    assert elsewhere.requests == []
    assert "the server answers 307" in caplog.text


async def test_it_waits_for_an_unreachable_server() -> None:
    port = free_port()
    heard: list[str] = []
    listener = ServerListener(f"http://127.0.0.1:{port}", group="db", pid="one")
    listener.recv(heard.append)
    await listener.start()
    await asyncio.sleep(0.1)

    async with await asyncio.start_server(script := Script(HEAD + event("a")), "127.0.0.1", port):
        await true_soon(lambda: heard == ["a"])
        await listener.stop()

    assert "Authorization" not in script.requests[0]


async def test_it_has_no_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[ClientTimeout] = []

    def timeout(**limits: Any) -> ClientTimeout:
        asked.append(ClientTimeout(**limits))
        return asked[-1]

    monkeypatch.setattr("orchestrator.engine.remote.server.aiohttp.ClientTimeout", timeout)

    async with listening(Script(HEAD + event("a"))) as heard:
        await true_soon(lambda: heard == ["a"])

    assert [one.total for one in asked] == [None]


async def test_a_server_with_an_untrusted_certificate_is_not_listened_to(start: Start) -> None:
    log = start("info")

    async with await asyncio.start_server(script := Script(), "127.0.0.1", 0, ssl=anonymous()) as server:
        port = server.sockets[0].getsockname()[1]
        listener = ServerListener(f"https://127.0.0.1:{port}", group="db", pid="one", token=Secret("a-token"))
        await listener.start()
        await true_soon(lambda: "not listening" in log.getvalue())
        await listener.stop()

    assert script.requests == []


def anonymous() -> ssl.SSLContext:
    """Return a TLS context without a certificate: no client that verifies gets past the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context
