"""What all pages share: templates that escape by default, and the headers that isolate a page."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Final

from starlette.responses import HTMLResponse

from orchestrator.text.templating import templates_in
from receiver.pages.rich_text import broken, linked, rich

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.responses import Response

#: Read once, at import, so that no request waits for the disk.
TEMPLATES: Final = templates_in(Path(__file__).parent / "templates")
TEMPLATES.filters |= {"broken": broken, "rich": rich, "linked": linked}


def page_headers(nonce: str) -> dict[str, str]:
    """Return the headers of every page; `nonce` is new for each response and is also on the page's style element."""
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; style-src 'nonce-{nonce}'; form-action 'self'; base-uri 'none'; "
            "frame-ancestors 'none'"
        ),
        "Referrer-Policy": "no-referrer",
        "X-Robots-Tag": "noindex, nofollow",
        "X-Content-Type-Options": "nosniff",
    }


def page(
    render: Callable[..., str], status: int = 200, headers: Mapping[str, str] | None = None, **shown: object
) -> Response:
    """Return what a template shows as a response, with the headers of every page and these."""
    nonce = secrets.token_urlsafe(16)

    return HTMLResponse(render(nonce=nonce, **shown), status, {**page_headers(nonce), **(headers or {})})
