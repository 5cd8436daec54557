"""The bytes of a response's head, and of a refusal that the connection itself makes."""

from __future__ import annotations

import http
import re
from typing import TYPE_CHECKING, Final

from receiver.http.headers import ALWAYS
from receiver.http.protocol.heads import TOKEN, VALUE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from receiver.http.problems import Problem

    type Headers = Iterable[tuple[bytes, bytes]]

#: It contains no control character, so that nothing in it can end the header early.
_HEADER: Final = re.compile(TOKEN + rb": " + VALUE)
_END: Final = b"\r\n"


def response_head(status: int, headers: Headers) -> bytes:
    """Return the head of a response, including the blank line at its end; names are written in lower case.

    Raises:
        ValueError: a header is malformed, so that it could be read as something else.
    """
    lines = [name.lower() + b": " + value for name, value in headers]

    if not all(map(_HEADER.fullmatch, lines)):
        raise ValueError("a header is malformed")

    return _END.join([_STATUS_LINES[status], *lines, _END])


def refusal(problem: Problem, defaults: Headers, *, without_body: bool) -> bytes:
    """Return the complete response that refuses a request with this problem and closes the connection."""
    response = problem.response()
    headers = dict([*response.raw_headers, *ALWAYS, (b"connection", b"close")])

    body = b"" if without_body else bytes(response.body)

    return response_head(problem.status, [*defaults, *headers.items()]) + body


def _phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return ""


_STATUS_LINES: Final = {status: f"HTTP/1.1 {status} {_phrase(status)}".encode() for status in range(200, 600)}
