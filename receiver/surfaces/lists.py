"""What there is and what waits: the lists of the workflow API, a page at a time.

No row has a token or a link: whoever lists a wait cannot answer it by that.
"""

from __future__ import annotations

from dataclasses import astuple
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import JSONResponse

from orchestrator.runs.listing import (
    AUDIENCES,
    MOST_ROWS,
    STATES,
    USUAL_ROWS,
    WaitFilter,
    WorkflowFilter,
    list_waits,
    list_workflows,
)
from orchestrator.runs.root_ids import is_workflow_name
from orchestrator.text.times import rfc3339
from receiver.http.cursors import cursor_of, position_of
from receiver.http.parameters import Parameters, invalid
from receiver.http.routing import route

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from orchestrator.engine.search import Position
    from orchestrator.runs.listing import Page, WaitRow, WorkflowRow
    from receiver.http.auth import ApiKeys
    from receiver.surfaces.edge import Edge

_NAME_RULE: Final = "the name of a workflow: 1 to 64 characters of A-Z a-z 0-9 _ -"
_LONGEST_PERSON: Final = 320
_LONGEST_CURSOR: Final = 1000
_MS: Final = 1000


class Lists:
    """The surfaces `GET /workflows` and `GET /waits`."""

    def __init__(self, edge: Edge, *, api_keys: ApiKeys) -> None:
        self._edge = edge
        self._api_keys = api_keys

    def routes(self) -> list[Route]:
        """Return the routes of these surfaces."""
        return [route("/workflows", GET=self.workflows), route("/waits", GET=self.waits)]

    async def workflows(self, request: Request) -> Response:
        """Return a page of the workflows, the latest start first."""
        self._api_keys.authorise(request, "read")
        given = Parameters(request, ("name", "state", "since", "until", "limit", "cursor"))
        since, until = given.moment("since"), given.moment("until")
        chosen = WorkflowFilter(
            name=given.word("name", is_workflow_name, _NAME_RULE),
            state=given.one_of("state", STATES),
            # Starts are known to the millisecond.
            since=None if since is None else -(-since // _MS),
            until=None if until is None else until // _MS,
        )
        scope = ("workflows", *astuple(chosen))
        page = await list_workflows(
            self._edge.engine,
            chosen,
            limit=given.number("limit", usual=USUAL_ROWS, most=MOST_ROWS),
            before=_position(given, scope),
        )

        return JSONResponse(_document("workflows", [workflow_row(row) for row in page.rows], page, scope))

    async def waits(self, request: Request) -> Response:
        """Return a page of the open waits, the oldest first."""
        self._api_keys.authorise(request, "read")
        given = Parameters(request, ("workflow", "audience", "person", "limit", "cursor"))
        chosen = WaitFilter(
            workflow=given.word("workflow", is_workflow_name, _NAME_RULE),
            audience=given.one_of("audience", AUDIENCES),
            person=given.text("person", longest=_LONGEST_PERSON),
        )
        scope = ("waits", *astuple(chosen))
        page = await list_waits(
            self._edge.engine,
            chosen,
            limit=given.number("limit", usual=USUAL_ROWS, most=MOST_ROWS),
            after=_position(given, scope),
        )

        return JSONResponse(_document("waits", [wait_row(row) for row in page.rows], page, scope))


def workflow_row(row: WorkflowRow) -> dict[str, Any]:
    """Return a workflow as the list shows it."""
    document: dict[str, Any] = {
        **row.name.document(),
        "state": row.state,
        "started_at": rfc3339(row.started_at),
        "ended_at": None if row.ended_at is None else rfc3339(row.ended_at),
    }

    if row.parent is not None:
        document["parent"] = row.parent.document()

    return document if row.fault is None else {**document, "fault": row.fault}


def wait_row(row: WaitRow) -> dict[str, Any]:
    """Return an open wait as the list shows it."""
    document: dict[str, Any] = {
        **row.name.document(),
        "callback": row.callback,
        "audience": row.audience,
        "subject": row.subject,
        "opened_at": rfc3339(row.opened_at),
        "expires_at": rfc3339(row.expires_at),
    }

    if row.title is not None:
        document["title"] = row.title

    if row.people is not None:
        document["people"] = list(row.people)

    return document if row.fault is None else {**document, "fault": row.fault}


def _document(name: str, rows: list[dict[str, Any]], page: Page[Any], scope: Sequence[object]) -> dict[str, Any]:
    document: dict[str, Any] = {name: rows, "next": None if page.next is None else cursor_of(page.next, scope)}

    return {**document, "caveats": list(page.caveats)} if page.caveats else document


def _position(given: Parameters, scope: Sequence[object]) -> Position | None:
    cursor = given.text("cursor", longest=_LONGEST_CURSOR)

    if cursor is None:
        return None

    try:
        return position_of(cursor, scope)
    except ValueError:
        raise invalid(
            "cursor", "must be the `next` of a page of this list, which was asked for with the same filters."
        ) from None
