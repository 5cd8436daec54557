"""Cursors: a position in a list as one word. A client passes back what it got, and need not know what is in it.

A cursor carries no more than the last row of the page that it came with, so making one up gives nobody anything. Its
checksum covers the list and the filters: a cursor that belongs to another list, or that was cut off, is refused instead
of leaving rows out.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import TYPE_CHECKING, Final

from orchestrator.engine.search import Position

if TYPE_CHECKING:
    from collections.abc import Sequence

_CHECK_BYTES: Final = 8
_LONGEST: Final = 1000
_TEXT: Final = re.compile(rb"(-?[0-9]{1,16}) ([\x21-\x7e]{1,700})")


def cursor_of(position: Position, scope: Sequence[object]) -> str:
    """Return the cursor of this position in a list; `scope` names the list and its filters."""
    text = f"{position.at} {position.id}".encode()

    return base64.urlsafe_b64encode(_check(text, scope) + text).rstrip(b"=").decode()


def position_of(cursor: str, scope: Sequence[object]) -> Position:
    """Return the position that `cursor_of` made this cursor of, in the same list with the same filters.

    Raises:
        ValueError: it was not made for this list and these filters, or was changed.
    """
    if len(cursor) > _LONGEST:
        raise ValueError("the cursor is too long")

    try:
        data = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise ValueError("the cursor is malformed") from error

    check, text = data[:_CHECK_BYTES], data[_CHECK_BYTES:]
    found = _TEXT.fullmatch(text)

    if found is None or check != _check(text, scope):
        raise ValueError("the cursor is of another list")

    position = Position(int(found[1]), found[2].decode())

    if cursor_of(position, scope) != cursor:
        raise ValueError("the cursor has another spelling")

    return position


def _check(text: bytes, scope: Sequence[object]) -> bytes:
    named = "\0".join(map(repr, scope)).encode()

    return hashlib.sha256(b"countersign.cursor\0" + named + b"\0" + text).digest()[:_CHECK_BYTES]
