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

_FIELDS: Final = re.compile(rb"(?:" + TOKEN + rb": " + VALUE + rb"\r\n)*+")
_END: Final = b"\r\n"


def response_head(status: int, headers: Headers) -> bytes:
    """Return the head of a response, including the blank line at its end; names are written in lower case.

    Raises:
        ValueError: a header is malformed, so that it could be read as something else.
    """
    lines = [b"%b: %b\r\n" % (name.lower(), value) for name, value in headers]
    fields = b"".join(lines)

    # A value that contains the end of a line would match as two headers, so the lines are counted.
    if _FIELDS.fullmatch(fields) is None or fields.count(_END) != len(lines):
        raise ValueError("a header is malformed")

    return b"%b%b\r\n" % (_STATUS_LINES[status], fields)


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


_STATUS_LINES: Final = {status: f"HTTP/1.1 {status} {_phrase(status)}\r\n".encode() for status in range(200, 600)}
