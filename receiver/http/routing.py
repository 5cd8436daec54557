"""Which handler a request gets, and which response the error that a handler raises.

There is one route per path for all its methods, so that the refusal of a method names all that are allowed. A path is
split into segments before it is decoded: an encoded slash is a character of its segment, not a separator. Nothing is
redirected: a redirect would reflect the Host and the token.
"""

from __future__ import annotations

import re
import urllib.parse
from typing import TYPE_CHECKING, Final

from starlette.convertors import StringConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

    type Handler = Callable[[Request], Awaitable[Response]]
    type ErrorHandler = Callable[[Request, Exception], Awaitable[Response]]


class _Word(StringConvertor):
    """A segment `{x:word}`: a name of ours, so a path with any other text there does not exist."""

    regex = "[A-Za-z0-9_-]+"


register_url_convertor("word", _Word())

_ENCODED_SLASH: Final = re.compile(rb"%2f", re.IGNORECASE)


def keep_encoded_slashes(scope: Scope) -> Scope:
    """Return the scope with a path in which `%2F` stays encoded, so that no id, name or token contains a slash.

    Servers decode a path as a whole. If a server does not pass on the raw path, the scope is returned unchanged. Some
    servers put their mount path in front of the decoded path only: that prefix is kept.
    """
    raw_path: bytes | None = scope.get("raw_path")

    if raw_path is None or _ENCODED_SLASH.search(raw_path) is None:
        return scope

    decoded, path = urllib.parse.unquote(raw_path), scope["path"]
    prefix = path.removesuffix(decoded) if path.endswith(decoded) else ""

    return {**scope, "path": prefix + urllib.parse.unquote(_ENCODED_SLASH.sub(b"%252F", raw_path))}


def path_below(scope: Scope) -> str:
    """Return the path of a request relative to where this application is mounted."""
    path: str = scope["path"]
    below = path.removeprefix(scope.get("root_path", ""))

    return below if below.startswith("/") else path


def route(path: str, **handlers: Handler) -> Route:
    """Return the route of this path; the keywords are methods. The handler of GET handles HEAD too."""

    async def dispatch(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method

        return await handlers[method](request)

    made = Route(path, dispatch, methods=list(handlers))
    # The framework's pattern ends in `$`, which also matches before a newline, and its `.` does not match a newline.
    made.path_regex = re.compile(made.path_regex.pattern.removesuffix("$") + r"\Z", re.DOTALL)

    return made


class Routes:
    """An ASGI application: the first route that matches a request's path handles it, or refuses its method.

    An error that a handler raises is handled by what `errors` has for its class, or for the nearest class above it. The
    framework's own application does the same, in five layers around every request.
    """

    def __init__(self, routes: Iterable[Route], errors: Mapping[type[Exception], ErrorHandler]) -> None:
        self._routes: Final = tuple(routes)
        self._errors: Final = errors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one request; raises what `errors` does not name, and what sending the response raises."""
        request = Request(scope, receive)

        try:
            response = await self._handler(scope)(request)
        except Exception as error:
            handle = self._handler_of(error)

            if handle is None:
                raise

            response = await handle(request, error)

        await response(scope, receive, send)

    def _handler(self, scope: Scope) -> Handler:
        """Return the handler of this request; the scope gets the `route` and its `path_params`, as in the framework.

        Raises:
            HTTPException: 404, or 405 if the path has a route, but not for this method.
        """
        path, method = path_below(scope), scope["method"]

        for one in self._routes:
            match = one.path_regex.match(path)

            if match is None:
                continue

            scope["route"] = one

            # A later route may match the same path, with a name of ours as a token or an id. It is not asked.
            if method not in (one.methods or ()):
                raise HTTPException(405, headers={"Allow": ", ".join(one.methods or ())})

            scope["path_params"] = match.groupdict()
            handler: Handler = one.endpoint

            return handler

        raise HTTPException(404)

    def _handler_of(self, error: Exception) -> ErrorHandler | None:
        for each in type(error).__mro__:
            if each in self._errors:
                return self._errors[each]

        return None
