"""Cuts out of other people's texts what must not be repeated: addresses, tokens, and values known to be confidential.

A service's message may echo what was sent to it, the callback address too. This is a guess by shape, made for such
texts; it refuses to be a reason for putting a secret into a text of ours.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_ADDRESS: Final = re.compile(r"[a-z][a-z0-9+.-]*(?::|%3a)(?:\\?/|%2f){2}[^\s\"'<>]*", re.IGNORECASE)
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{43}|[A-Za-z0-9_-]{40,}")
_CUT: Final = "[...]"

# A shorter value is cut only where it stands alone: a parameter "1" must not eat every digit.
_LONG: Final = 8


def redacted(text: str, hidden: Iterable[str] = ()) -> str:
    """Return `text` in one printable line, without the values in `hidden`, addresses, and what looks like a token."""
    for value in sorted(filter(None, hidden), key=len, reverse=True):
        for spelling in {value, json.dumps(value)[1:-1]}:
            edge = r"\b" if len(value) < _LONG and re.fullmatch(r"\w+", value) else ""
            text = re.sub(edge + re.escape(spelling) + edge, lambda _: _CUT, text)

    text = _TOKEN.sub(_CUT, _ADDRESS.sub(_CUT, text))
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
