"""The head of a request: the request line and the headers.

Whatever two parsers could read differently is refused: RFC 9112, sections 3, 5 and 6. The body's length is decided
here and nowhere else. An offer to change the protocol (`Upgrade`) is dropped, so that it has no effect.
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
#: All registered methods are upper case; leftover bytes of another request in front of a method mostly are not.
_REQUEST_LINE: Final = re.compile(rb"([A-Z][A-Z\-]*+) ([!\"$-~]++) HTTP/1\.([01])\r\n")
_FIELDS: Final = re.compile(rb"(?:" + TOKEN + rb":" + VALUE + rb"\r\n)*+")
_HOST: Final = re.compile(_AUTHORITY)
_ABSOLUTE: Final = re.compile(rb"https?://" + _AUTHORITY + rb"(/[^?]*+)?+(\?.*+)?+", re.IGNORECASE)
#: What no head may contain: control characters, and a CR or LF without the other.
_STRAY: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?!\n|\Z)")
#: The most digits of a length that are read: no request here is that long.
_DIGITS: Final = 18

#: Headers that have a meaning here, the dropped offers included.
_CONCERNED: Final = frozenset(
    (b"connection", b"content-length", b"expect", b"host", b"http2-settings", b"transfer-encoding", b"upgrade")
)
_OFFERS: Final = frozenset((b"http2-settings", b"upgrade"))


class MalformedRequest(ValueError):
    """These bytes are not a request, or two parsers could read them differently. The text quotes none of them."""


class Head(NamedTuple):
    """The head of a request. `path` and `query` are raw, as they were sent; `length` is None for a chunked body."""

    method: str
    path: bytes
    query: bytes
    version: str
    headers: list[tuple[bytes, bytes]]
    keep_alive: bool
    expects_continue: bool
    length: int | None


def check_stray(begun: bytearray, start: int) -> None:
    """Refuse a partial head with characters that no head may contain; bytes before `start` are checked already."""
    if _STRAY.search(begun, start):
        raise MalformedRequest("the head contains a control character, or a CR or LF alone")


def check_request_line(begun: bytearray) -> None:
    """Refuse a partial head that does not begin with a complete request line."""
    if _REQUEST_LINE.match(begun) is None:
        raise MalformedRequest("the request line is malformed")


def parse_head(head: bytes) -> Head:
    """Parse a head, up to and including the end of its last header, or raise `MalformedRequest`."""
    line = _REQUEST_LINE.match(head)

    if line is None:
        raise MalformedRequest("the request line is malformed")

    method, target, minor = line.groups()

    if _FIELDS.fullmatch(head, line.end()) is None:
        raise MalformedRequest("a header is malformed")

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
        raise MalformedRequest("CONNECT is not supported")

    if target.startswith(b"/"):
        path, _, query = target.partition(b"?")
        return path, query

    if method == b"OPTIONS" and target == b"*":
        return target, b""

    absolute = _ABSOLUTE.fullmatch(target)

    if absolute is None:
        raise MalformedRequest("the target is malformed")

    return absolute[1] or b"/", (absolute[2] or b"?")[1:]


def _check_host(hosts: list[bytes], *, old: bool) -> None:
    if not hosts and old:
        return

    if len(hosts) != 1 or _HOST.fullmatch(hosts[0]) is None:
        raise MalformedRequest("there must be exactly one well-formed Host")


def _length(concerned: dict[bytes, list[bytes]], *, old: bool) -> int | None:
    """Return the body's length, None for a chunked body."""
    lengths = concerned.get(b"content-length", [])
    encodings = concerned.get(b"transfer-encoding", [])

    if encodings:
        if old or lengths or len(encodings) > 1 or encodings[0].lower() != b"chunked":
            raise MalformedRequest("a body needs either one Content-Length or the Transfer-Encoding chunked")

        return None

    if not lengths:
        return 0

    if len(lengths) > 1 or not lengths[0].isdigit():
        raise MalformedRequest("a body needs either one Content-Length or the Transfer-Encoding chunked")

    # int() of very many digits is slow, and Python refuses it. So long a body would never end, so the digits are cut.
    return int(lengths[0].lstrip(b"0")[:_DIGITS] or b"0")


def _members(values: list[bytes]) -> list[bytes]:
    """Return the members of a comma-separated header, in lower case; the header may be repeated."""
    return [member.strip(b" \t").lower() for value in values for member in value.split(b",")]
