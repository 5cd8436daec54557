"""What surrounds every request: size limits before any handler, headers on every response, metrics and access log.

`RequestGuard` wraps the whole application, the framework's own error handling included, so that every response passes
through it. It refuses to look into tokens, bodies or routes; it only measures the request.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from starlette.requests import ClientDisconnect

from orchestrator.text.crashes import describe_crash
from receiver.http.bodies import READ_SECONDS, check_declared, receive_body
from receiver.http.headers import ALWAYS, NO_PAGE
from receiver.http.problems import CLIENT_GONE, Problem
from receiver.http.routing import keep_encoded_slashes
from receiver.http.telemetry import log_request, route_template

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from receiver.http.telemetry import Metrics

logger = logging.getLogger(__name__)

MAX_HEADERS: Final = 100
MAX_HEADER_BYTES: Final = 32 * 1024

#: Handlers of these methods read the body themselves, after authentication. For other methods it is read here.
_READ_BY_HANDLER: Final = frozenset({"POST", "PUT", "PATCH"})
_ALWAYS_NAMES: Final = frozenset(name for name, _ in ALWAYS)


class RequestGuard:
    """ASGI middleware around the application: size limits, the headers of every response, metrics and the access log.

    `as_page` may replace a refusal that is made here by a page.

    It must wrap the framework's own middleware, `RequestGuard(Starlette(...), ...)`, so that its 500 passes here too.
    """

    def __init__(  # noqa: PLR0913 - each with a default that is right outside tests
        self,
        app: ASGIApp,
        *,
        max_body: int,
        metrics: Metrics,
        body_seconds: float = READ_SECONDS,
        clock: Callable[[], float] = time.perf_counter,
        as_page: Callable[[Scope, Response], Response] = lambda _, response: response,
    ) -> None:
        self._app: Final = app
        self._as_page: Final = as_page
        self._max_body: Final = max_body
        self._metrics: Final = metrics
        self._body_seconds: Final = body_seconds
        self._clock: Final = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; raises only if a response that has begun cannot be finished."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        scope = keep_encoded_slashes(scope)
        began = self._clock()
        outgoing = _Outgoing(send)
        try:
            await self._serve(scope, receive, outgoing)
        finally:
            seconds = self._clock() - began
            route = route_template(scope)
            self._metrics.request(route, scope["method"], outgoing.status, seconds)
            log_request(scope, route, outgoing.status, seconds)

    async def _serve(self, scope: Scope, receive: Receive, outgoing: _Outgoing) -> None:
        try:
            if self._check_headers(scope) and scope["method"] not in _READ_BY_HANDLER:
                body = await receive_body(receive, limit=self._max_body, seconds=self._body_seconds)
                receive = _Replay(body, receive)

            await self._app(scope, receive, outgoing)
        except Problem as problem:
            await self._as_page(scope, problem.response())(scope, receive, outgoing)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001 - the server would log it, its text included
            await self._after_crash(error, scope, receive, outgoing)

    async def _after_crash(self, error: Exception, scope: Scope, receive: Receive, outgoing: _Outgoing) -> None:
        # A complete response came from the exception handlers, which logged the error before it was raised again.
        if outgoing.complete:
            return

        logger.error("a request failed: %s", describe_crash(error))
        if outgoing.started:
            raise RuntimeError("a response was cut short") from None  # the server must drop the connection

        await self._as_page(scope, Problem("internal-error").response())(scope, receive, outgoing)

    def _check_headers(self, scope: Scope) -> bool:
        """Return whether the request has a body.

        Raises:
            Problem: the headers or the declared body are too large, or the body's length is ambiguous.
        """
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        if len(headers) > MAX_HEADERS:
            raise Problem("headers-too-large", f"A request may have at most {MAX_HEADERS} headers.")

        size = 0
        declared: bytes | None = None
        chunked = False
        for name, value in headers:
            size += len(name) + len(value)
            if name == b"content-length":
                if declared is not None:
                    raise _ambiguous()

                declared = value
            elif name == b"transfer-encoding":
                chunked = True

        if size > MAX_HEADER_BYTES:
            raise Problem("headers-too-large", f"All headers together may have at most {MAX_HEADER_BYTES} bytes.")

        if declared is None:
            return chunked

        if chunked:
            raise _ambiguous()

        return check_declared(declared, self._max_body)


class _Outgoing:
    """The sending side: adds the headers of every response and records its status."""

    __slots__ = ("_send", "complete", "started", "status")

    def __init__(self, send: Send) -> None:
        self._send: Final = send
        self.status = CLIENT_GONE
        self.started = False
        self.complete = False

    async def __call__(self, message: Message) -> None:
        if not self.started:
            self.started = True
            self.status = message["status"]
            given = [pair for pair in message.get("headers", ()) if pair[0] not in _ALWAYS_NAMES]
            names = {name for name, _ in given}
            added = [pair for pair in NO_PAGE if pair[0] not in names]
            message = {**message, "headers": [*given, *added, *ALWAYS]}
        elif not message.get("more_body", False):
            self.complete = True

        await self._send(message)


class _Replay:
    """The receiving side of a request whose body was read already: returns it once, then what the server sends."""

    __slots__ = ("_body", "_receive")

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive: Final = receive

    async def __call__(self) -> Message:
        if self._body is None:
            return await self._receive()

        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


def _ambiguous() -> Problem:
    return Problem("malformed-body", "The length of the body is given more than once.", {"Connection": "close"})
