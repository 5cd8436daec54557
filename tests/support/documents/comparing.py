"""Whether a program printed what a document shows.

`...` in a line stands for any text, and as a line of its own for any lines. Times, ids, measured seconds and the ports
that a program chose differ from run to run, so any of these matches any other of its kind.
"""

from __future__ import annotations

import re
from typing import Final

_VARIES: Final = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z"), "MOMENT"),
    (re.compile(r"\b\d{10,}\b"), "ID"),
    (re.compile(r"\b127\.0\.0\.1:\d{5}\b"), "127.0.0.1:PORT"),
    (re.compile(r"\b\d+(?:\.\d+)? s\b"), "SECONDS"),
)


def is_shown(expected: str, printed: str) -> bool:
    """Return whether all that was printed is what the document shows."""
    return re.fullmatch(_pattern(expected), _plain(printed)) is not None


def is_shown_within(expected: str, printed: str) -> bool:
    """Return whether some lines of what was printed are what the document shows."""
    return re.search(rf"^{_pattern(expected)}", _plain(printed), re.MULTILINE) is not None


def _plain(text: str) -> str:
    for pattern, name in _VARIES:
        text = pattern.sub(name, text)

    return "".join(f"{line.rstrip()}\n" for line in text.strip("\n").split("\n"))


def _pattern(expected: str) -> str:
    lines = _plain(expected).splitlines()
    any_lines = r"(?:[^\n]*\n)*?"

    return "".join(
        any_lines if line.strip() == "..." else r"[^\n]*?".join(map(re.escape, line.split("..."))) + r"\n"
        for line in lines
    )
