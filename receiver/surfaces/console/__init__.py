"""The console: the workflow API for people, as pages that need no script."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from receiver.http.routing import route
from receiver.http.sessions import Sessions
from receiver.surfaces.console.door import Door
from receiver.surfaces.console.lists import Lists
from receiver.surfaces.console.reception import PATH, Reception
from receiver.surfaces.console.runs import Runs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.routing import Route

    from orchestrator.config.secret import Secret
    from orchestrator.runs.definition import Workflow
    from receiver.http.auth import ApiKeys
    from receiver.surfaces.edge import Edge


class Console:
    """The surface `/console`."""

    def __init__(  # noqa: PLR0913 - what the application has
        self,
        edge: Edge,
        workflows: Mapping[str, Workflow[Any]],
        signing_keys: Sequence[Secret],
        *,
        organisation: str,
        public_url: str,
        api_keys: ApiKeys,
    ) -> None:
        sessions = Sessions(signing_keys, api_keys, public_url=public_url, clock=edge.clock)
        base = f"{urlsplit(public_url).path}{PATH}"
        door = Door(sessions, api_keys, edge.engine.promises, base=base)
        self._reception = Reception(edge, door, api_keys, organisation=organisation, public_url=public_url)
        self._lists = Lists(edge, workflows)
        self._runs = Runs(edge)

    def routes(self) -> list[Route]:
        """Return the routes of this surface."""
        page = self._reception.page

        return [
            route(PATH, GET=page(self._lists.overview, here="overview")),
            route(f"{PATH}/waits", GET=page(self._lists.waits, here="waits")),
            route(f"{PATH}/workflows", GET=page(self._lists.workflows, here="workflows")),
            route(f"{PATH}/find", GET=page(self._lists.find, here="find")),
            route(f"{PATH}/sign-in", POST=self._reception.sign_in),
            route(f"{PATH}/sign-out", POST=self._reception.sign_out),
            route(f"{PATH}/workflows/{{name}}/{{id}}", GET=page(self._runs.show)),
        ]
