"""Masking what looks like a secret in any text: one set of rules, for logs and for messages from other systems.

It guesses by shape and is only the second line of defence: do not put a secret into a text because this file may mask
it. Every pattern takes linear time on any text, because each run of characters is possessive or bounded by a number.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable


REDACTED: Final = "[redacted]"

#: How many characters of a text are examined. The rest is cut off.
LONGEST: Final = 32 * 1024


#: Each pattern with a lower-case needle. The needle is looked for first, because each logged line pays for all of them.
#: What the pattern's first group holds is kept.
_SECRETS: Final = (
    # Our tokens, and others of the same signing library.
    (".", re.compile(r"(?<![\w-])()[\w-]{16,}+(?:\.[\w-]{1,16}+)?\.[\w-]{43}", re.ASCII)),
    ("eyj", re.compile(r"()eyJ[\w-]{8,}+(?:\.[\w-]*+)*", re.ASCII)),
    ("bearer", re.compile(r"(bearer(?:\s++|\\n|%20|\+))[^\s'\",;)\]}]+", re.IGNORECASE)),
    ("basic", re.compile(r"(\bbasic(?:\s++|\\n|%20|\+))[^\s'\",;)\]}]+", re.IGNORECASE)),
    # Databricks: personal tokens, and secrets of service principals; also when they are cut short.
    ("dapi", re.compile(r"()dapi[0-9a-h]{8,}+(?:-\d++)?", re.IGNORECASE)),
    ("dose", re.compile(r"()dose[0-9a-h]{16,}+(?:-\d++)?", re.IGNORECASE)),
    # Secrets of webhooks, and keys of Stripe, GitHub and Slack.
    ("whsec_", re.compile(r"()whsec_[\w+/=-]*+", re.ASCII)),
    ("k_", re.compile(r"()[rs]k_(?:live|test)_\w++", re.ASCII)),
    ("gh", re.compile(r"()gh[opsur]_\w{16,}+", re.ASCII)),
    ("github_pat_", re.compile(r"()github_pat_\w{16,}+", re.ASCII)),
    ("xox", re.compile(r"()xox[a-z]-[\w-]{8,}+", re.ASCII)),
    # User and password before the host of an address, and the value of a setting with such a name.
    ("://", re.compile(r"(://)[^/?#\s]*(?=@)")),
    ("pass", re.compile(r"((?:password|passwd)['\"]?\s{0,3}[=:]\s{0,3}['\"]?)[^\s&'\",;)\]}]+", re.IGNORECASE)),
    ("secret", re.compile(r"(secret['\"]?\s{0,3}[=:]\s{0,3}['\"]?)[^\s&'\",;)\]}]+", re.IGNORECASE)),
    ("token", re.compile(r"(token['\"]?\s{0,3}[=:]\s{0,3}['\"]?)[^\s&'\",;)\]}]+", re.IGNORECASE)),
)


def redact(text: str, mark: str = REDACTED) -> str:
    """Return `text` with everything in it that looks like a secret replaced by the mark.

    Of a text longer than `LONGEST`, only the whole words up to there are returned, and the number of characters left
    out.
    """
    kept = cut(text)
    lowered = kept.lower()
    masked = kept

    for needle, pattern in _SECRETS:
        if needle in lowered:
            masked = pattern.sub(lambda found: found[1] + mark, masked)

    return masked if kept is text else f"{masked} [{len(text) - len(kept)} more characters]"


def cut(text: str, limit: int = LONGEST) -> str:
    """Return the whole words in the text's first `limit` characters, or the text itself if it is no longer than that.

    A word that the limit splits is dropped, because half a secret would not be recognised.
    """
    return text if len(text) <= limit else " ".join(text[:limit].rsplit(None, 1)[:-1])


# Bounded at the beginning and possessive at the end, so linear on any text.
_ADDRESS: Final = re.compile(
    r"[a-z0-9+.-]{0,20}+(?::|%(?:25){0,2}3a)(?:\\{0,2}/|%(?:25){0,2}2f){2}[^\s\"'<>]*+", re.IGNORECASE
)

_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{40,}+")

_CUT: Final = "[...]"

# A shorter value is cut only where it is a word of its own: a parameter "1" must not remove every 1.
_LONG: Final = 8


def without_echoes(text: str, hidden: Iterable[str] = ()) -> str:
    """Return `text` in one printable line, without the values in `hidden`, addresses, and what looks like a token.

    Everything after the text's first 32768 characters is left out.
    """
    spellings = {spelling for value in hidden if value for spelling in (value, json.dumps(value)[1:-1])}
    kept = text[:LONGEST]

    for spelling in sorted(spellings, key=len, reverse=True):
        kept = _without(spelling, kept)

    if len(text) > LONGEST:
        # The limit may have split a hidden value, and the part that is left is shorter than the value.
        kept = cut(kept, max(0, len(kept) - max(map(len, spellings), default=1)))

    kept = _TOKEN.sub(_CUT, redact(_ADDRESS.sub(_CUT, kept), _CUT))
    return " ".join("".join(char if char.isprintable() else " " for char in kept).split())


def _without(spelling: str, text: str) -> str:
    if len(spelling) >= _LONG or re.fullmatch(r"\w+", spelling) is None:
        return text.replace(spelling, _CUT)

    return re.sub(rf"\b{spelling}\b", _CUT, text)
