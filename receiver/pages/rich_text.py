"""Plain text as HTML: its lists as lists, its links live, and its long names with places where a line may break.

All of it is escaped. A link is only what begins with `http://` or `https://`, in plain ASCII and without a user before
the host. It is shown in full, with its host beside it, so that everybody sees where it leads.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: How a link is written here and in the templates.
REL: Final = "noopener noreferrer nofollow"

#: From how many characters a word is long: in a name, and in a text.
_LONG_NAME: Final = re.compile(r"\S{31,}")
_LONG_WORD: Final = re.compile(r"\S{41,}")
_MAY_BREAK: Final = re.compile(r"(?<=[@._/:+=-])(?=\w)")
_URL: Final = re.compile(r"https?://[\x21-\x7e]{1,2000}", re.ASCII | re.IGNORECASE)
_BULLET: Final = re.compile(r"[-*•] +(?=\S)")
_NUMBER: Final = re.compile(r"(\d{1,4})[.)] +(?=\S)", re.ASCII)

#: What may follow a link in a sentence. A closing bracket belongs to the link if it was opened in it.
_BEHIND: Final = ".,;:!?'\"*_"
_BRACKETS: Final = {")": "(", "]": "[", "}": "{", ">": "<"}


def broken(name: str) -> Markup:
    """Return a name as HTML; a word of more than 30 characters may break behind its punctuation."""
    return _breaking(name, _LONG_NAME)


def rich(text: str) -> Markup:
    """Return a text as HTML: paragraphs, lists, and live links."""
    return Markup("\n").join(_block(lines) for lines in _blocks(text.split("\n")))


def linked(text: str) -> Markup:
    """Return a line of text as HTML, with live links."""
    shown = Markup("")
    end = 0

    for found in _URL.finditer(text):
        url = _without_what_follows(found[0])
        host = _host(url)

        if host is not None:
            shown += _breaking(text[end : found.start()], _LONG_WORD) + _link(url, host)
            end = found.start() + len(url)

    return shown + _breaking(text[end:], _LONG_WORD)


def _link(url: str, host: str) -> Markup:
    return Markup('<a href="{}" rel="{}" referrerpolicy="no-referrer">{}</a> <small>({})</small>').format(
        url, REL, broken(url), broken(host)
    )


def _breaking(text: str, long: re.Pattern[str]) -> Markup:
    shown = Markup("")
    end = 0

    for word in long.finditer(text):
        parts = (escape(part) for part in _MAY_BREAK.split(word[0]))
        shown += escape(text[end : word.start()]) + Markup("<wbr>").join(parts)
        end = word.end()

    return shown + escape(text[end:])


def _host(url: str) -> str | None:
    """Return the host of a link that may be live, None for any other."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None

    return None if "@" in parts.netloc else parts.hostname


def _without_what_follows(url: str) -> str:
    while url and (url[-1] in _BEHIND or url.count(url[-1]) > url.count(_BRACKETS.get(url[-1], url[-1]))):
        url = url[:-1]

    return url


def _blocks(lines: Iterable[str]) -> Iterator[list[str]]:
    """Yield the lines that belong together: those of a list, and those of a paragraph, without empty lines around."""
    block: list[str] = []

    for line in lines:
        if not line.strip():
            if block:
                yield block

            block = []
        elif block and _kind(block[-1]) is not _kind(line):
            yield block
            block = [line]
        else:
            block.append(line)

    if block:
        yield block


def _kind(line: str) -> re.Pattern[str] | None:
    return next((kind for kind in (_BULLET, _NUMBER) if kind.match(line)), None)


def _block(lines: list[str]) -> Markup:
    kind = _kind(lines[0])

    # A single line may be anything: a minus and a number, say.
    if len(lines) == 1:
        kind = None

    if kind is _BULLET:
        return Markup("<ul>{}</ul>").format(_items(lines, kind))

    numbers = [int(found[1]) for line in lines if (found := _NUMBER.match(line))]

    # A list numbers its items itself, so only consecutive numbers stay what they are.
    if kind is _NUMBER and numbers == list(range(numbers[0], numbers[0] + len(numbers))):
        return Markup('<ol start="{}">{}</ol>').format(numbers[0], _items(lines, kind))

    return Markup("<p>{}</p>").format(Markup("<br>\n").join(linked(line) for line in lines))


def _items(lines: list[str], kind: re.Pattern[str]) -> Markup:
    return Markup("").join(Markup("<li>{}</li>").format(linked(kind.sub("", line, count=1))) for line in lines)
