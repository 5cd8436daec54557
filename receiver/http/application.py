"""The application as a server or a host application sees it: an ASGI application to mount, with its own lifespan.

It does not start by itself with the first request: nothing would then stop it, and the engine has to be closed.
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
    """An ASGI application that exists during its lifespan only; `opened` creates it and cleans up after it.

    Before and after that, `closed` handles requests. Served alone, it follows the server's lifespan messages. Mounted
    in another application it receives no such messages, so that application has to enter `lifespan`.
    """

    def __init__(self, opened: Callable[[], AbstractAsyncContextManager[ASGIApp]], *, closed: ASGIApp) -> None:
        self._opened: Final = opened
        self._closed: Final = closed
        #: Where frameworks look for the lifespan of an application that they mount: `router.lifespan_context`.
        self.router: Final = Router(lifespan=self.lifespan)
        self._entered = False
        self._app: ASGIApp | None = None

    @contextlib.asynccontextmanager
    async def lifespan(self, _host: object = None) -> AsyncIterator[None]:
        """Open the application, and close it at the end. The host application is accepted as an argument and ignored.

        Raises:
            RuntimeError: the lifespan is entered already.
            StartRefused: the configuration cannot be used, or the engine cannot be opened.
        """
        if self._entered:
            raise RuntimeError("this application has been started already: its lifespan can only be entered once")

        self._entered = True

        try:
            async with self._opened() as app:
                self._app = app
                warn_of_access_log()

                try:
                    yield
                finally:
                    self._app = None

        finally:
            self._entered = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the messages of a server's lifespan."""
        if scope["type"] == "lifespan":
            await self.router(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)
        else:
            # The host application's route must not become our metrics label, a parameter of its path must not become a
            # token, and our notes must not leak to it.
            own = {name: value for name, value in scope.items() if name not in _OF_THE_HOST}
            await (self._app or self._closed)(own, receive, send)


def warn_of_access_log() -> None:
    """Log a warning if this process's server writes paths, and with them tokens, to its access log."""
    access = logging.getLogger("uvicorn.access")

    if "uvicorn" in sys.modules and access.isEnabledFor(logging.INFO) and access.hasHandlers():
        logger.warning(_ACCESS_LOG)
