"""One route per path, whatever methods it takes, so that a refused method is answered with all that are allowed.

A path is cut into segments before it is decoded: an encoded slash is a character of its segment and separates none.
"""

from __future__ import annotations

import re
import urllib.parse
from typing import TYPE_CHECKING, Final

from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import Scope

    type Handler = Callable[[Request], Awaitable[Response]]

_ENCODED_SLASH: Final = re.compile(rb"%2f", re.IGNORECASE)


def keep_encoded_slashes(scope: Scope) -> Scope:
    """Return the scope with a path in which `%2F` stays as it is, so that it is part of no id, name or token.

    Servers decode a path as a whole. Where one does not say how the path was sent, nothing can be told from it. Some
    put the path that they serve below in front of the decoded path alone: that part stays as it is.
    """
    raw_path: bytes | None = scope.get("raw_path")

    if raw_path is None or _ENCODED_SLASH.search(raw_path) is None:
        return scope

    decoded, path = urllib.parse.unquote(raw_path), scope["path"]
    prefix = path.removesuffix(decoded) if path.endswith(decoded) else ""

    return {**scope, "path": prefix + urllib.parse.unquote(_ENCODED_SLASH.sub(b"%252F", raw_path))}


def path_below(scope: Scope) -> str:
    """Return the path of a request below the one that this application is mounted at."""
    path: str = scope["path"]
    below = path.removeprefix(scope.get("root_path", ""))

    return below if below.startswith("/") else path


def route(path: str, **handlers: Handler) -> Route:
    """Return the route of this path; the keywords are methods. A handler of GET answers HEAD too."""

    async def dispatch(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method

        return await handlers[method](request)

    made = Route(path, dispatch, methods=list(handlers))
    # The framework's pattern ends in `$`, which also matches before a newline, and `.` matches none.
    made.path_regex = re.compile(made.path_regex.pattern.removesuffix("$") + r"\Z", re.DOTALL)

    return made
