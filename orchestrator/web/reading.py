"""What a response says as a text: the main text of an HTML page, or a plain text as it is. Anything else is refused.

The markup of a stranger is parsed in a process of its own; see `extraction`.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchestrator.config.settings import process_environment
from orchestrator.errors import StepRefused, StepUnavailable
from orchestrator.text.display import one_line
from orchestrator.web.charsets import decoded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

#: Seconds that the other process may take on a busy machine. It has a limit of its own for the processor.
_SECONDS: Final = 90.0

_MARKUP: Final = {"text/html", "application/xhtml+xml"}
_PLAIN: Final = {"text/plain", "text/markdown"}
_PROGRAM: Final = Path(__file__).with_name("extraction.py")

#: What the other process needs of our environment. Keys and passwords are not among it.
_PASSED_ON: Final = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR")
_EXTRA: Final = "trafilatura"
_LONGEST_TITLE: Final = 300


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The text of a page, not empty, and its title in one line, empty if it has none."""

    title: str
    text: str


async def read(
    content: bytes, content_type: str, extract: Callable[[str], Awaitable[dict[str, str]]] | None = None
) -> Reading:
    """Return what a page with this content and this Content-Type header says.

    `extract` replaces the other process.

    Raises:
        StepRefused: it is no text or has none, or `countersign[web]` is not installed.
        StepUnavailable: the other process took too long.
    """
    kind, charset = _content_type(content_type)

    if kind and kind not in _MARKUP | _PLAIN:
        raise StepRefused(f"the page is {one_line(kind, 100)}; only HTML and plain text are read")

    is_markup = kind in _MARKUP or (not kind and content.lstrip()[:1] == b"<")
    text = decoded(content, charset, markup=is_markup)

    if "\0" in text or text.startswith("%PDF-"):
        raise StepRefused("the page says that it is text and is not")

    found = await (extract or extracted)(text) if is_markup else {"title": "", "text": text}
    reading = Reading(title=one_line(found["title"], _LONGEST_TITLE), text=_storable(found["text"]).strip())

    if not reading.text:
        raise StepRefused("the page holds no text; perhaps a script in it would fetch some, and scripts are not run")

    return reading


async def extracted(html: str) -> dict[str, str]:
    """Return the `title` and the main `text` of this HTML, found by a process of its own.

    Raises:
        StepRefused: the library for it is not installed, or the page takes too much memory or time.
        StepUnavailable: the process took too long, perhaps because the machine is busy.
    """
    if importlib.util.find_spec(_EXTRA) is None:
        raise StepRefused(f"reading HTML needs {_EXTRA}, which is an extra: pip install 'countersign[web]'")

    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        str(_PROGRAM),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=_environment(),
    )

    try:
        async with asyncio.timeout(_SECONDS):
            output, _ = await process.communicate(_storable(html).encode())

    except TimeoutError:
        raise StepUnavailable(f"reading the page took longer than {_SECONDS:g} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()

            await process.wait()

    if process.returncode != 0:
        raise StepRefused("the page is too complicated: finding its text takes too much memory or time")

    found: dict[str, str] = json.loads(output)

    return found


def _environment() -> dict[str, str]:
    ours = process_environment()
    passed_on = {name: ours[name] for name in _PASSED_ON if name in ours}

    return passed_on | {"PYTHONPATH": os.pathsep.join(place for place in sys.path if place)}


def _content_type(header: str) -> tuple[str, str | None]:
    kind, *parameters = (part.strip() for part in header.split(";"))
    named = (parameter.partition("=") for parameter in parameters)
    charsets = (value.strip(" \"'") for name, _, value in named if name.strip().lower() == "charset")

    return kind.lower(), next(charsets, None)


def _storable(text: str) -> str:
    """Return the text without lone surrogates, which UTF-8 cannot carry, and with one sort of line end."""
    return text.encode(errors="replace").decode().replace("\r\n", "\n").replace("\r", "\n")
