"""Refusals as pages, for people who see them in a browser. Programs get the problem document.

On the approval pages every refusal is a page. Elsewhere the `Accept` header decides, except for what only machines
send: a delivery to a callback or a webhook. Nothing of the request is on these pages.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from orchestrator.callbacks.claims import PATHS
from receiver.http.preferences import prefers_page
from receiver.http.problems import MEDIA_TYPE
from receiver.http.routing import path_below
from receiver.pages.notice import NOTICES, Notice
from receiver.pages.templating import TEMPLATES, page

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import Scope

_KEPT_HEADERS: Final = frozenset({"allow", "connection", "retry-after", "vary", "www-authenticate"})
_LOOKING: Final = frozenset({"GET", "HEAD"})
_MACHINES: Final = (PATHS["machine"], "/webhooks")

#: What a browser shows instead of a text that is written for programs.
_TEXTS: Final = {
    "unauthorized": "Sign in to the console with an API key, or send the key in the header Authorization: Bearer KEY.",
    "not-found": "This address leads nowhere. Please check it for typing errors.",
    "method-not-allowed": "A browser cannot open this address. Programs use it.",
    "invalid-token": "Programs report here, with a token in the address or in the header Authorization: Bearer TOKEN.",
}


class Refusals:
    """Makes pages of refusals, with the name of this organisation. The console is below the path of `public_url`."""

    def __init__(self, organisation: str, public_url: str) -> None:
        self._organisation = organisation
        self._console = f"{urlsplit(public_url).path}/console"

    def as_page(self, scope: Scope, response: Response) -> Response:
        """Return a refusal as a page if a person sees it; return every other response unchanged."""
        if response.media_type != MEDIA_TYPE:
            return response

        if is_below(scope, PATHS["approver"]):
            status = response.status_code if response.status_code in NOTICES else 400

            return Notice(status, headers=_kept(response)).response(self._organisation)

        if scope["method"] not in _LOOKING and any(is_below(scope, path) for path in _MACHINES):
            return response

        response.headers["Vary"] = "Accept"

        return self._page(response) if prefers_page(_accepted(scope)) else response

    def _page(self, response: Response) -> Response:
        document: dict[str, Any] = json.loads(bytes(response.body))
        name = document["type"].rpartition(":")[2]
        refusal = {
            "title": document["title"],
            "text": _TEXTS.get(name, document.get("detail", "")),
            "name": name,
            "status": response.status_code,
        }
        shown = {"organisation": self._organisation, "console": self._console, "refusal": refusal}

        return page(TEMPLATES.get_template("refusal.html").render, response.status_code, _kept(response), **shown)


def is_below(scope: Scope, path: str) -> bool:
    """Whether a request is for this path or one below it."""
    asked = path_below(scope)

    return asked == path or asked.startswith(f"{path}/")


def _kept(response: Response) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if name in _KEPT_HEADERS}


def _accepted(scope: Scope) -> list[str]:
    return [value.decode("latin-1") for name, value in scope["headers"] if name == b"accept"]
