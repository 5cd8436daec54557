"""Templates of pages and mails: they escape what they show unless told otherwise, and know every name they use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined

if TYPE_CHECKING:
    from pathlib import Path


def templates_in(folder: Path) -> Environment:
    """Return the templates of this folder. Each is read from the disk once, when it is first asked for."""
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
