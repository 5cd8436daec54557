"""Connections that tests hold open and use byte by byte, with limits that are reached soon or never."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Any

from support.plant import PATIENCE

from receiver.http.protocol.limits import Limits

if TYPE_CHECKING:
    from support.wire import Running

#: Limits that a test does not wait for are never reached; those that it waits for are reached soon.
NEVER = Limits(head_seconds=600, idle_seconds=600, rest_seconds=600, rest_bytes=1 << 30, unsent_seconds=600)
SOON = 0.2

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
UPGRADE = b"Connection: keep-alive, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"

#: What an application sends: the start of a response, the start of one of ten bytes, a part of a body, the last part.
START: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": []}
TEN = START | {"headers": [(b"Content-Length", b"10")]}
PART: dict[str, Any] = {"type": "http.response.body", "body": b"hello", "more_body": True}
LAST: dict[str, Any] = {"type": "http.response.body", "body": b"hello"}


def post(path: str, *headers: bytes, length: int | None = None) -> bytes:
    lines = [f"POST {path} HTTP/1.1".encode(), b"Host: a", *headers]
    lines += [] if length is None else [b"Content-Length: %d" % length]
    return b"\r\n".join([*lines, b"", b""])


class Client:
    """A connection that stays open and is read only on request."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> bytes:
        """Return the next response."""
        async with asyncio.timeout(PATIENCE):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
            return head + await self.reader.readexactly(length)

    async def rest(self) -> bytes:
        """Return everything until the server closes the connection; a reset is an error."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read()


def reset(client: Client) -> None:
    """Disconnect like a process that dies: anything that is sent to it is refused."""
    client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.writer.transport.abort()


@contextlib.asynccontextmanager
async def connected(running: Running) -> Any:
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
