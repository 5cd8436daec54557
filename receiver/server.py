"""The HTTP server under the application: uvicorn, with what it lacks.

It has no time limit for headers, answers what it cannot parse in its own words, and ends a process that was asked to
stop with that very signal.
"""

from __future__ import annotations

import contextlib
import resource
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from receiver.problems import Problem

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator

    from starlette.types import ASGIApp

#: Seconds for a request's headers to arrive whole; a body has its own time.
HEADER_SECONDS: Final = 30.0

#: Bytes of headers that are kept while more arrive; what the application takes is less.
_HEADER_BYTES: Final = 64 * 1024

#: Seconds that SIGTERM leaves requests that are under way; running steps get a few more.
_DRAIN: Final = 4

#: Connections that one process can bear, where the operating system lets it.
_FILES: Final = 65_536


class Server(uvicorn.Server):
    """Serves an application until `stop`, and then returns.

    `stopping` is called at once then, before anything is drained.
    """

    def __init__(self, app: ASGIApp, *, stopping: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=Protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=_DRAIN,
                # Its reading of them believes anything a proxy passes on; `receiver.clients` has ours.
                proxy_headers=False,
            )
        )
        self._stopping = stopping

    def stop(self, number: int) -> None:
        """Begin to stop, for this signal; a second SIGINT waits for nobody any more."""
        self._stopping()
        self.handle_exit(number, None)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: whoever serves calls `stop`. uvicorn's own way ends the process by the signal."""
        yield


class Protocol(HttpToolsProtocol):
    """One connection: its requests' headers arrive in time, and what cannot be parsed is answered in our words."""

    def __init__(self, *arguments: Any, header_seconds: float = HEADER_SECONDS, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._header_seconds = header_seconds
        self._patience: asyncio.TimerHandle | None = None
        self._header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._be_patient()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._have_patience_no_more()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Begin to wait for the headers of a request, unless that began with the connection."""
        super().on_message_begin()
        self._header_bytes = 0

        if self._patience is None:
            self._be_patient()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, and stop parsing where there is no end of them: the application refuses far fewer."""
        self._header_bytes += len(name) + len(value)

        if self._header_bytes > _HEADER_BYTES:
            raise OverflowError

        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Wait no more."""
        self._have_patience_no_more()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP; `msg`, the parser's word on it, is not repeated."""
        del msg

        if self._header_bytes > _HEADER_BYTES:
            self._refuse(Problem("headers-too-large"))
        else:
            self._refuse(Problem("malformed-body", "This is not an HTTP request."))

    def _be_patient(self) -> None:
        self._patience = self.loop.call_later(self._header_seconds, self._late)

    def _have_patience_no_more(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _late(self) -> None:
        self._patience = None
        self._refuse(Problem("request-timeout", f"The headers did not arrive within {self._header_seconds:g} seconds."))

    def _refuse(self, problem: Problem) -> None:
        answer = problem.response()
        headers = {
            **dict(answer.headers),
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
            "connection": "close",
        }
        lines = [f"HTTP/1.1 {problem.status} {problem.title}", *(f"{name}: {value}" for name, value in headers.items())]
        self.transport.write("\r\n".join([*lines, "", ""]).encode("latin-1") + bytes(answer.body))
        self.transport.close()


def allow_many_connections() -> None:
    """Raise this process's limit of open files as far as it may by itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)

    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
