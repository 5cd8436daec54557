"""`/docs`: the OpenAPI document to read and to try, shown by Swagger UI from an installed package.

The page loads nothing from elsewhere, and its policy allows only what it names: its scripts and styles, and requests to
this origin. All addresses in it are relative, so it works wherever the application is mounted. It stores no key.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from starlette.responses import HTMLResponse, Response
from swagger_ui_bundle import swagger_ui_path

from receiver.http.routing import route
from receiver.pages.templating import TEMPLATES, page_headers

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.routing import Route

_PATH: Final = "/docs"

#: What the package has that the page needs, by the type that the browser gets it as.
_ASSETS: Final = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}


class Documentation:
    """The surface `/docs`."""

    def __init__(self, *, organisation: str) -> None:
        self._organisation = organisation
        # Read once, so that no request waits for the disk.
        self._assets = {name: (swagger_ui_path / name).read_bytes() for name in _ASSETS}

    def routes(self) -> list[Route]:
        """Return the routes of this surface."""
        return [route(_PATH, GET=self.show), *(route(f"{_PATH}/{name}", GET=self.asset) for name in _ASSETS)]

    async def show(self, _: Request) -> Response:
        """Return the page."""
        nonce = secrets.token_urlsafe(16)
        html = TEMPLATES.get_template("docs.html").render(nonce=nonce, organisation=self._organisation)

        return HTMLResponse(html, headers={**page_headers(nonce), "Content-Security-Policy": _policy(nonce)})

    async def asset(self, request: Request) -> Response:
        """Return one of the package's files."""
        name = request.url.path.rpartition("/")[2]

        return Response(self._assets[name], media_type=_ASSETS[name])


def _policy(nonce: str) -> str:
    return (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; "
        "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    )
