"""The console: the workflow API for people, as pages that need no script."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from receiver.http.routing import route
from receiver.http.sessions import Sessions
from receiver.pages.console import console_page
from receiver.surfaces.console.door import Door
from receiver.surfaces.console.reception import PATH, Reception, Visit
from receiver.surfaces.console.runs import Runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from orchestrator.config.secret import Secret
    from receiver.http.auth import ApiKeys
    from receiver.surfaces.edge import Edge


class Console:
    """The surface `/console`."""

    def __init__(
        self, edge: Edge, signing_keys: Sequence[Secret], *, organisation: str, public_url: str, api_keys: ApiKeys
    ) -> None:
        sessions = Sessions(signing_keys, api_keys, public_url=public_url, clock=edge.clock)
        base = f"{urlsplit(public_url).path}{PATH}"
        door = Door(sessions, api_keys, edge.engine.promises, base=base)
        self._reception = Reception(edge, door, api_keys, organisation=organisation, public_url=public_url)
        self._runs = Runs(edge)

    def routes(self) -> list[Route]:
        """Return the routes of this surface."""
        page = self._reception.page

        return [
            route(PATH, GET=page(self.overview, here="overview")),
            route(f"{PATH}/sign-in", POST=self._reception.sign_in),
            route(f"{PATH}/sign-out", POST=self._reception.sign_out),
            route(f"{PATH}/workflows/{{name}}/{{id}}", GET=page(self._runs.show)),
        ]

    async def overview(self, _: Request, visit: Visit) -> Response:
        """Show what waits, what failed and what runs."""
        return console_page("console_overview.html", visit.frame)
