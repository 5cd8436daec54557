"""The console: the workflow API for people, as pages that need no script."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from receiver.http.routing import route
from receiver.http.sessions import Sessions
from receiver.surfaces.console.door import Door
from receiver.surfaces.console.lists import Lists
from receiver.surfaces.console.reception import PATH, Reception
from receiver.surfaces.console.runs import Runs
from receiver.surfaces.console.waits import Waits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.routing import Route

    from orchestrator.config.keys import Role
    from orchestrator.config.secret import Secret
    from orchestrator.runs.definition import Workflow
    from receiver.http.auth import ApiKeys
    from receiver.http.routing import Handler
    from receiver.surfaces.by_hand import ByHand
    from receiver.surfaces.cancels import Cancels
    from receiver.surfaces.console.reception import Show
    from receiver.surfaces.edge import Edge

_RUN: Final = f"{PATH}/workflows/{{name}}/{{id}}"
_WAIT: Final = f"{_RUN}/steps/{{step}}"


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
        cancels: Cancels,
        by_hand: ByHand,
    ) -> None:
        sessions = Sessions(signing_keys, api_keys, public_url=public_url, clock=edge.clock)
        base = f"{urlsplit(public_url).path}{PATH}"
        door = Door(sessions, api_keys, edge.engine.promises, base=base)
        self._reception = Reception(edge, door, api_keys, organisation=organisation, public_url=public_url)
        self._lists = Lists(edge, workflows)
        self._waits = Waits(edge, by_hand, self._reception)
        self._runs = Runs(edge, workflows, self._reception, cancels=cancels, by_hand=by_hand)

    def routes(self) -> list[Route]:
        """Return the routes of this surface."""
        page = self._reception.page

        def form(show: Show, role: Role = "operate") -> dict[str, Handler]:
            handler = page(show, role=role)

            return {"GET": handler, "POST": handler}

        return [
            route(PATH, GET=page(self._lists.overview, here="overview")),
            route(f"{PATH}/waits", GET=page(self._lists.waits, here="waits")),
            route(f"{PATH}/workflows", GET=page(self._lists.workflows, here="workflows")),
            route(f"{PATH}/find", GET=page(self._lists.find, here="find")),
            route(f"{PATH}/sign-in", POST=self._reception.sign_in),
            route(f"{PATH}/sign-out", POST=self._reception.sign_out),
            route(f"{PATH}/zone", **form(self._reception.zone, "read")),
            route(_RUN, GET=page(self._runs.show)),
            route(f"{_RUN}/cancel", **form(self._runs.cancel)),
            route(f"{_RUN}/again", **form(self._runs.start_again, "start")),
            route(_WAIT, GET=page(self._waits.show)),
            route(f"{_WAIT}/answer", **form(self._waits.answer)),
            route(f"{_WAIT}/remind", **form(self._waits.remind)),
        ]
