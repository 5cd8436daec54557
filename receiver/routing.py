"""One route per path, whatever methods it takes, so that a refused method is answered with all that are allowed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request
    from starlette.responses import Response

    type Handler = Callable[[Request], Awaitable[Response]]


def route(path: str, **handlers: Handler) -> Route:
    """Return the route of this path; the keywords are methods. A handler of GET answers HEAD too."""

    async def dispatch(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method

        return await handlers[method](request)

    made = Route(path, dispatch, methods=list(handlers))
    # The framework's pattern ends in `$`, which also matches before a newline, and `.` matches none.
    made.path_regex = re.compile(made.path_regex.pattern.removesuffix("$") + r"\Z", re.DOTALL)

    return made
