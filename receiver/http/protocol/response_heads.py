"""The bytes of an answer's head, and of a refusal that no application makes."""

from __future__ import annotations

import http
import re
from typing import TYPE_CHECKING, Final

from receiver.http.protocol.heads import TOKEN, VALUE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from receiver.http.problems import Problem

    type Headers = Iterable[tuple[bytes, bytes]]

#: Without a control character, so that nothing ends it early.
_HEADER: Final = re.compile(TOKEN + rb": " + VALUE)
_END: Final = b"\r\n"


def answer_head(status: int, headers: Headers) -> bytes:
    """Return the head of an answer, with its end; names are written in lower case.

    Raises:
        ValueError: a header would not arrive as the one header that it is.
    """
    lines = [name.lower() + b": " + value for name, value in headers]

    if not all(map(_HEADER.fullmatch, lines)):
        raise ValueError("a header that is none")

    return _END.join([_STATUS_LINES[status], *lines, _END])


def refusal(problem: Problem, defaults: Headers, *, without_body: bool) -> bytes:
    """Return the whole answer that refuses a request with this problem and ends its connection."""
    answer = problem.response()
    headers = {
        **dict(answer.headers),
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        "connection": "close",
    }
    pairs = [*defaults, *((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items())]

    return answer_head(problem.status, pairs) + (b"" if without_body else bytes(answer.body))


def _phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return ""


_STATUS_LINES: Final = {status: f"HTTP/1.1 {status} {_phrase(status)}".encode() for status in range(200, 600)}
