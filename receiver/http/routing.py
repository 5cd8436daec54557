"""One route per path for all its methods, so that the refusal of a method names all that are allowed.

A path is split into segments before it is decoded: an encoded slash is a character of its segment, not a separator.
"""

from __future__ import annotations

import re
import urllib.parse
from typing import TYPE_CHECKING, Final

from starlette.convertors import StringConvertor, register_url_convertor
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import Scope

    type Handler = Callable[[Request], Awaitable[Response]]


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
