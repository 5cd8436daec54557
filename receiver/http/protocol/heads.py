"""The head of a request: a line and headers, read in one way only.

Whatever two readers could read differently is refused: RFC 9112, sections 3, 5 and 6. Where the body ends is decided
here and nowhere else. An offer to change the protocol is dropped, so that it decides nothing.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

#: A token and a header's value (RFC 9110, section 5.6.2 and 5.5).
TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
VALUE: Final = rb"[\t\x20-\x7e\x80-\xff]*+"

_AUTHORITY: Final = (
    rb"(?:\[[0-9A-Fa-f:.]{2,45}\]|(?:[A-Za-z0-9\-._~!$&'()*+;=]|%[0-9A-Fa-f]{2}){1,255})(?::[0-9]{0,5})?"
)
#: All registered methods are spelt so; what is left of something else in front of one mostly is not.
_REQUEST_LINE: Final = re.compile(rb"([A-Z][A-Z\-]*+) ([!\"$-~]++) HTTP/1\.([01])\r\n")
_FIELDS: Final = re.compile(rb"(?:" + TOKEN + rb":" + VALUE + rb"\r\n)*+")
_HOST: Final = re.compile(_AUTHORITY)
_ABSOLUTE: Final = re.compile(rb"https?://" + _AUTHORITY + rb"(/[^?]*+)?+(\?.*+)?+", re.IGNORECASE)
#: What no head holds: control characters, and half a line's end.
_STRAY: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?!\n|\Z)")
#: The digits of a length that no request here comes near.
_DIGITS: Final = 18

#: Headers that decide something here, and the offers that are dropped.
_CONCERNED: Final = frozenset(
    (b"connection", b"content-length", b"expect", b"host", b"http2-settings", b"transfer-encoding", b"upgrade")
)
_OFFERS: Final = frozenset((b"http2-settings", b"upgrade"))


class MalformedRequest(ValueError):
    """These bytes are no request, or one that two readers could read differently. Its text quotes none of them."""


class Head(NamedTuple):
    """The head of a request. `path` and `query` are as they were sent, `length` is None for a chunked body."""

    method: str
    path: bytes
    query: bytes
    version: str
    headers: list[tuple[bytes, bytes]]
    keep_alive: bool
    expects_continue: bool
    length: int | None


def check_stray(begun: bytearray, start: int) -> None:
    """Refuse what no head may hold, from this place on: nobody needs to wait for the end of it."""
    if _STRAY.search(begun, start):
        raise MalformedRequest("a control character, or half a line's end, in the head")


def check_request_line(begun: bytearray) -> None:
    """Refuse what does not begin with a whole request line."""
    if _REQUEST_LINE.match(begun) is None:
        raise MalformedRequest("no request line")


def parse_head(head: bytes) -> Head:
    """Return the head that these bytes are, up to and with the end of its last header, or raise `MalformedRequest`."""
    line = _REQUEST_LINE.match(head)

    if line is None:
        raise MalformedRequest("no request line")

    method, target, minor = line.groups()

    if _FIELDS.fullmatch(head, line.end()) is None:
        raise MalformedRequest("a line that is no header")

    headers: list[tuple[bytes, bytes]] = []
    concerned: dict[bytes, list[bytes]] = {}

    for field in head[line.end() : -2].split(b"\r\n") if len(head) > line.end() else ():
        name, _, value = field.partition(b":")
        name, value = name.lower(), value.strip(b" \t")

        if name in _CONCERNED:
            concerned.setdefault(name, []).append(value)

            if name in _OFFERS:
                continue

        headers.append((name, value))

    old = minor == b"0"
    path, query = _split(method, target)
    _check_host(concerned.get(b"host", []), old=old)
    length = _length(concerned, old=old)

    return Head(
        method=method.decode("ascii"),
        path=path,
        query=query,
        version="1.0" if old else "1.1",
        headers=headers,
        keep_alive=not old and b"close" not in _members(concerned.get(b"connection", [])),
        expects_continue=not old and b"100-continue" in _members(concerned.get(b"expect", [])),
        length=length,
    )


def _split(method: bytes, target: bytes) -> tuple[bytes, bytes]:
    """Return path and query of a request's target: in origin form, in absolute form, or `*` for OPTIONS."""
    if method == b"CONNECT":
        raise MalformedRequest("there is no tunnel here")

    if target.startswith(b"/"):
        path, _, query = target.partition(b"?")
        return path, query

    if method == b"OPTIONS" and target == b"*":
        return target, b""

    absolute = _ABSOLUTE.fullmatch(target)

    if absolute is None:
        raise MalformedRequest("no target")

    return absolute[1] or b"/", (absolute[2] or b"?")[1:]


def _check_host(hosts: list[bytes], *, old: bool) -> None:
    if not hosts and old:
        return

    if len(hosts) != 1 or _HOST.fullmatch(hosts[0]) is None:
        raise MalformedRequest("there must be one Host")


def _length(concerned: dict[bytes, list[bytes]], *, old: bool) -> int | None:
    """Return the body's length, None for a chunked one."""
    lengths = concerned.get(b"content-length", [])
    encodings = concerned.get(b"transfer-encoding", [])

    if encodings:
        if old or lengths or len(encodings) > 1 or encodings[0].lower() != b"chunked":
            raise MalformedRequest("a body's length is given by one Content-Length, or as chunked")

        return None

    if not lengths:
        return 0

    if len(lengths) > 1 or not lengths[0].isdigit():
        raise MalformedRequest("a body's length is given by one Content-Length, or as chunked")

    # int() of very many digits is neither free nor allowed, and so long a body never ends.
    return int(lengths[0].lstrip(b"0")[:_DIGITS] or b"0")


def _members(values: list[bytes]) -> list[bytes]:
    """Return the members of a comma-separated header, in lower case, however many lines it came in."""
    return [member.strip(b" \t").lower() for value in values for member in value.split(b",")]
