"""Text from strangers made fit to be shown to a person: on a page, in a mail, in a log.

What is shown must be what is there, so no character that hides, reorders or overwrites others gets through. This file
does not escape markup; the code that writes markup does.
"""

from __future__ import annotations

import unicodedata
from typing import Final

#: Joiners and marks that scripts and emoji need, and that change nothing beyond their own word.
_NEEDED: Final = frozenset("\N{SOFT HYPHEN}\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}\u200e\u200f")

#: Controls, formats (bidirectional overrides among them), surrogates, private use, line and paragraph separators.
_REFUSED: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


def one_line(text: str, limit: int) -> str:
    """Return the text as one line of at most `limit` characters, with each run of white space as one space."""
    line = " ".join(_cut(text, limit * 4).split())

    return _cut(_visible(line), limit)


def paragraphs(text: str, limit: int) -> str:
    """Return the text with its lines kept, at most `limit` characters. A notice at the end says if it was cut."""
    if len(text) > limit:
        notice = f"\n[… cut here; {len(text):,} characters in all]"
        text = text[: limit - len(notice)] + notice

    return _visible(text.replace("\r\n", "\n").replace("\r", "\n"))


def escape_unprintable(text: str) -> str:
    r"""Return `text` with every control and other unprintable character escaped, a newline as `\n`."""
    if text.isprintable():
        return text

    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _visible(text: str) -> str:
    if text.replace("\n", "").isprintable():
        return text

    return "".join(
        c if c in "\n\t" or c in _NEEDED or unicodedata.category(c) not in _REFUSED else "\N{REPLACEMENT CHARACTER}"
        for c in text
    )
