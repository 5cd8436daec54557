"""A web server on loopback that sends what a test wrote, byte by byte, and counts who connects."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl

type Pieces = bytes | Sequence[bytes | float]


@dataclass
class Website:
    """What was asked of it. `pages` are responses by target; a number in one is a pause in seconds, inf for ever."""

    pages: dict[str, Pieces]
    port: int = 0
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)

    def url(self, target: str = "/", host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{target}"

    @property
    def targets(self) -> list[str]:
        """The targets that were asked for, in order."""
        return [request.split(b" ")[1].decode() for request in self.requests]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1

        try:
            await self._answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # whoever connected sent no request, or did not wait for the response
        finally:
            writer.close()

            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests.append(await reader.readuntil(b"\r\n\r\n"))
        pieces = self.pages.get(self.targets[-1], response(b"", status="404 Not Found"))

        for piece in [pieces] if isinstance(pieces, bytes) else pieces:
            if isinstance(piece, bytes):
                writer.write(piece)
                await writer.drain()
            elif piece == float("inf"):
                await reader.read()
            else:
                await asyncio.sleep(piece)


def response(
    content: bytes,
    kind: str = "text/html; charset=utf-8",
    *headers: str,
    status: str = "200 OK",
    length: int | None = None,
) -> bytes:
    """Return a whole response with this content; `length` is what Content-Length says instead of the truth."""
    said = len(content) if length is None else length
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {said}", *([f"Content-Type: {kind}"] if kind else []), *headers]

    return "\r\n".join([*lines, "", ""]).encode() + content


def moved(to: str, status: str = "302 Found") -> bytes:
    return response(b"", "", f"Location: {to}", status=status)


@contextlib.asynccontextmanager
async def website(
    pages: dict[str, Pieces] | None = None, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Website]:
    """Serve these pages at a free port of the host. What is still being sent at the end is cut off."""
    site = Website(pages if pages is not None else {"/": response(b"<p>A page.</p>")})
    running: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)

        with contextlib.suppress(asyncio.CancelledError):
            await site.serve(reader, writer)

        running.discard(task)

    server = await asyncio.start_server(serve, host, port, ssl=tls)
    site.port = server.sockets[0].getsockname()[1]

    try:
        yield site
    finally:
        server.close()

        for task in list(running):
            task.cancel()

        await asyncio.gather(*running, return_exceptions=True)
