"""Cuts out of other people's texts what must not be repeated: addresses, tokens, and values known to be confidential.

A service's message may echo what was sent to it, the callback address too. What a secret looks like is decided in
`orchestrator.text.redaction`; here whatever could be a token or an address goes as well, since no such message needs
one.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from orchestrator.text.redaction import LONGEST, cut, redact

if TYPE_CHECKING:
    from collections.abc import Iterable

# Bounded at their beginning, never given back at their end: linear on any text.
_ADDRESS: Final = re.compile(
    r"[a-z0-9+.-]{0,20}+(?::|%(?:25){0,2}3a)(?:\\{0,2}/|%(?:25){0,2}2f){2}[^\s\"'<>]*+", re.IGNORECASE
)
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{40,}+")
_CUT: Final = "[...]"

# A shorter value is cut only where it stands alone: a parameter "1" must not eat every digit.
_LONG: Final = 8


def redacted(text: str, hidden: Iterable[str] = ()) -> str:
    """Return `text` in one printable line, without the values in `hidden`, addresses, and what looks like a token.

    What is beyond the text's first 32768 characters is left out.
    """
    spellings = {spelling for value in hidden if value for spelling in (value, json.dumps(value)[1:-1])}
    kept = text[:LONGEST]

    for spelling in sorted(spellings, key=len, reverse=True):
        kept = _without(spelling, kept)

    if len(text) > LONGEST:
        # The last value may have been cut through. What is left of it is shorter than itself.
        kept = cut(kept, max(0, len(kept) - max(map(len, spellings), default=1)))

    kept = _TOKEN.sub(_CUT, redact(_ADDRESS.sub(_CUT, kept), _CUT))
    return " ".join("".join(char if char.isprintable() else " " for char in kept).split())


def _without(spelling: str, text: str) -> str:
    if len(spelling) >= _LONG or re.fullmatch(r"\w+", spelling) is None:
        return text.replace(spelling, _CUT)

    return re.sub(rf"\b{spelling}\b", _CUT, text)
