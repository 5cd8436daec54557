"""The HTTP server under the application: uvicorn's server with our own implementation of connections.

uvicorn's connections wait without a limit, and they treat what follows an offer to change the protocol as the next
request. Its server ends the process with the signal that asked it to stop, instead of with exit code 0.
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

#: Seconds that requests under way have after SIGTERM; running steps get a few more.
_DRAIN: Final = 4

#: The open files, and so the connections, that one process asks the operating system for.
_FILES: Final = 65_536


class Server(uvicorn.Server):
    """Serves an application until `stop` is called, and then returns.

    `stop` calls `stopping` at once, before it drains requests.
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
                # uvicorn trusts everything that a proxy passes on; `receiver.http.client_addresses` does not.
                proxy_headers=False,
            )
        )
        self._stopping = stopping

    def stop(self, number: int) -> None:
        """Begin to stop, for this signal; a second SIGINT stops without draining.

        The connections are shut down first, so that every response from now on says that it is the connection's last.
        """
        for connection in tuple(self.server_state.connections):
            connection.shutdown()

        self._stopping()
        self.handle_exit(number, None)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: the process calls `stop`. uvicorn's own handling would end the process by the signal."""
        yield


def allow_many_connections() -> None:
    """Raise this process's soft limit of open files as far as its hard limit allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)

    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
