"""The application as somebody else's server or application sees it: something to mount, with a lifespan of its own.

It does not start by itself with the first request: it would then have no end, and whatever an engine holds has to be
let go of.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TYPE_CHECKING, Final

from starlette.routing import Router
from starlette.websockets import WebSocketClose

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from starlette.types import ASGIApp, Receive, Scope, Send

logger = logging.getLogger("receiver")

_ACCESS_LOG: Final = (
    "uvicorn's access log is on and will show callback tokens, which are part of paths: "
    "turn it off with --no-access-log, or with access_log=False in uvicorn.run"
)

_OF_THE_HOST: Final = frozenset({"route", "path_params"})


class Application:
    """An ASGI application that is there from the beginning of its lifespan to its end, lent by `opened`.

    Before and after that `closed` answers. Served alone, the server's lifespan messages begin and end it. Mounted
    in another application it hears of none, so that application has to enter `lifespan`.
    """

    def __init__(self, opened: Callable[[], AbstractAsyncContextManager[ASGIApp]], *, closed: ASGIApp) -> None:
        self._opened: Final = opened
        self._closed: Final = closed
        #: Where frameworks look for the lifespan of an application that they mount: `router.lifespan_context`.
        self.router: Final = Router(lifespan=self.lifespan)
        self._app: ASGIApp | None = None

    @contextlib.asynccontextmanager
    async def lifespan(self, _host: object = None) -> AsyncIterator[None]:
        """Open the application, and close it in the end. Takes the application that it is mounted in, and ignores it.

        Raises:
            RuntimeError: it was entered already.
            StartRefused: the configuration cannot be used, or the engine cannot be had.
        """
        if self._app is not None:
            raise RuntimeError("this application has been started already: its lifespan is entered once")

        async with self._opened() as app:
            self._app = app
            warn_of_access_log()

            try:
                yield
            finally:
                self._app = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the messages of a server's lifespan."""
        if scope["type"] == "lifespan":
            await self.router(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)
        else:
            # The route that led here, and what its path names, are the other application's: a `{token}` there is none
            # of ours. What is noted below is not to be seen above.
            own = {name: value for name, value in scope.items() if name not in _OF_THE_HOST}
            await (self._app or self._closed)(own, receive, send)


def warn_of_access_log() -> None:
    """Log a warning where the server that this process runs under writes paths, and with them tokens, to its log."""
    access = logging.getLogger("uvicorn.access")

    if "uvicorn" in sys.modules and access.isEnabledFor(logging.INFO) and access.hasHandlers():
        logger.warning(_ACCESS_LOG)
