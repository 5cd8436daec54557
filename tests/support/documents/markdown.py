"""The parts of a Markdown document that tests need: its fenced blocks, its headings and its links."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FENCE: Final = "```"

_FENCE: Final = re.compile(r"^```(\w*)$")
_HEADING: Final = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
_LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_COMMENT: Final = re.compile(r"^(?:#|//) (\S*[./]\S*)(?:[,;:] .*)?$")


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block: the line where its text starts, its language and its text."""

    line: int
    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The file that its first line names in a comment, as in `# refunds.py` or `# nginx.conf: the proxy`."""
        found = _COMMENT.match(self.text.partition("\n")[0])

        return found[1] if found else None

    @property
    def body(self) -> str:
        """The text without the line that names the file."""
        return self.text.partition("\n")[2].lstrip("\n") if self.file else self.text


def blocks(text: str) -> list[Block]:
    """Return the fenced blocks in order.

    Raises:
        ValueError: a fence of an unknown kind, or one that is not closed.
    """
    found: list[Block] = []
    start = 0
    language: str | None = None
    lines = text.splitlines()

    for number, line in enumerate(lines, 1):
        if language is not None:
            if line == FENCE:
                inside = "".join(f"{one}\n" for one in lines[start : number - 1])
                found.append(Block(line=start + 1, language=language, text=inside))
                language = None

        elif FENCE in line:
            fence = _FENCE.match(line)

            if fence is None:
                raise ValueError(f"line {number}: {line!r} is not a fence that this parser knows")

            language, start = fence[1], number

    if language is not None:
        raise ValueError(f"the block at line {start} is not closed")

    return found


def prose(text: str) -> str:
    """Return the text without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(text: str) -> set[str]:
    """Return the anchors of the headings, as GitHub makes them."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in _HEADING.findall(prose(text))}


def links(document: Path) -> Iterator[tuple[Path, str]]:
    """Yield the file and the anchor ("" for none) that each link within the repository leads to."""
    for target in _LINK.findall(prose(document.read_text("utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue

        path, _, anchor = target.partition("#")
        yield ((document.parent / path).resolve() if path else document.resolve()), anchor
