"""What all pages share: templates that escape by default, and the headers that keep a page to itself."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from orchestrator.text.templating import templates_in

# Templates are read once, at import: nothing touches the disk while a request waits.
TEMPLATES: Final = templates_in(Path(__file__).parent / "templates")


def page_headers(nonce: str) -> dict[str, str]:
    """Return the headers that every page carries; `nonce` is fresh for each answer and stands on its style element."""
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; style-src 'nonce-{nonce}'; form-action 'self'; base-uri 'none'; "
            "frame-ancestors 'none'"
        ),
        "Referrer-Policy": "no-referrer",
        "X-Robots-Tag": "noindex, nofollow",
        "X-Content-Type-Options": "nosniff",
    }
