"""The HTTP server under the application: uvicorn's life of a server over connections of our own.

uvicorn's connections wait without end and hand what follows an offer to change the protocol to the next request. Its
server ends a process that was asked to stop with that very signal.
"""

from __future__ import annotations

import contextlib
import resource
from typing import TYPE_CHECKING, Final

import uvicorn

from receiver.http.protocol.connection import Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starlette.types import ASGIApp

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
                # Its reading of them believes anything a proxy passes on; `receiver.http.client_addresses` has ours.
                proxy_headers=False,
            )
        )
        self._stopping = stopping

    def stop(self, number: int) -> None:
        """Begin to stop, for this signal; a second SIGINT waits for nobody any more.

        The connections hear of it first, so that every answer from now on says that it is the last one of its own.
        """
        for connection in tuple(self.server_state.connections):
            connection.shutdown()

        self._stopping()
        self.handle_exit(number, None)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: whoever serves calls `stop`. uvicorn's own way ends the process by the signal."""
        yield


def allow_many_connections() -> None:
    """Raise this process's limit of open files as far as it may by itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)

    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
