"""The HTTP server under the application: uvicorn's life of a server over connections of our own.

uvicorn's connections wait without end and hand what follows an offer to change the protocol to the next request. Its
server ends a process that was asked to stop with that very signal.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
from typing import TYPE_CHECKING, Final

import uvicorn

from receiver.connection import Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from starlette.types import ASGIApp

#: Seconds that SIGTERM leaves requests that are under way; running steps get a few more.
_DRAIN: Final = 4

#: Connections that one process can bear, where the operating system lets it.
_FILES: Final = 65_536


class Server(uvicorn.Server):
    """Serves an application until SIGTERM or SIGINT, and then returns.

    `stopping` is called as soon as the signal is there, before anything is drained.
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
                forwarded_allow_ips="127.0.0.1",
            )
        )
        self._stopping = stopping

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop."""
        self._stopping()
        super().handle_exit(sig, frame)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals while serving. uvicorn's own raises the signal again afterwards, and so dies of it."""
        loop = asyncio.get_running_loop()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)

        yield


def allow_many_connections() -> None:
    """Raise this process's limit of open files as far as it may by itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)

    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
