"""The lists of the console: what waits for whom, what failed, what runs; with filters, pages and a search by id."""

from __future__ import annotations

import asyncio
from dataclasses import astuple
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from orchestrator.errors import UnknownPromise
from orchestrator.runs.listing import (
    AUDIENCES,
    STATES,
    WaitFilter,
    WorkflowFilter,
    list_waits,
    list_workflows,
)
from orchestrator.runs.root_ids import RootName, is_workflow_id, is_workflow_name, name_of_root, root_id_of
from receiver.http.cursors import cursor_of, position_of
from receiver.http.parameters import invalid
from receiver.http.problems import Problem
from receiver.pages.approval import redirect
from receiver.pages.console import console_page
from receiver.pages.console_rows import drawn_wait, drawn_workflow

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from orchestrator.engine.search import Position
    from orchestrator.runs.definition import Workflow
    from orchestrator.runs.listing import Page
    from receiver.pages.console import Frame
    from receiver.surfaces.console.reception import Visit
    from receiver.surfaces.edge import Edge

#: How many rows each part of the overview has, and how many a page of a list.
_FEW: Final = 10
_ROWS: Final = 50

#: Seconds after which the overview is fetched again.
_REFRESH: Final = 30

_LONGEST: Final = 400


class Lists:
    """Shows lists. `workflows` are those that can be started here; others are listed too."""

    def __init__(self, edge: Edge, workflows: Mapping[str, Workflow[Any]]) -> None:
        self._edge = edge
        self._names = sorted(workflows)

    async def overview(self, request: Request, visit: Visit) -> Response:
        """Show what waits, what failed and what runs, the most urgent first."""
        engine = self._edge.engine
        waits, failed, running = await asyncio.gather(
            list_waits(engine, WaitFilter(), limit=_FEW),
            list_workflows(engine, WorkflowFilter(state="failed"), limit=_FEW),
            list_workflows(engine, WorkflowFilter(state="running"), limit=_FEW),
        )
        now = self._now()
        paused = request.query_params.get("updates") == "off"

        return console_page(
            "console_overview.html",
            visit.frame,
            refresh=None if paused else _REFRESH,
            paused=paused,
            seconds=_REFRESH,
            waits=[drawn_wait(visit.frame, row, now) for row in waits.rows],
            more_waits=waits.next is not None,
            failed=[drawn_workflow(visit.frame, row, now) for row in failed.rows],
            more_failed=failed.next is not None,
            running=[drawn_workflow(visit.frame, row, now) for row in running.rows],
            more_running=running.next is not None,
            caveats=_caveats(waits, failed, running),
        )

    async def workflows(self, request: Request, visit: Visit) -> Response:
        """Show a page of the workflows, the latest start first."""
        given = _given(request, ("name", "state", "since", "until", "cursor"))
        chosen = WorkflowFilter(
            name=given.get("name"),
            state=_one_of(given, "state", STATES),
            since=_day(given, "since", visit.frame),
            until=_day(given, "until", visit.frame, end=True),
        )

        if chosen.name is not None and not is_workflow_name(chosen.name):
            raise invalid("name", "must be the name of a workflow.")

        scope = ("console workflows", *astuple(chosen))
        page = await list_workflows(self._edge.engine, chosen, limit=_ROWS, before=_position(given, scope))
        now = self._now()

        return console_page(
            "console_workflows.html",
            visit.frame,
            rows=[drawn_workflow(visit.frame, row, now) for row in page.rows],
            given=_filled(given, ("name", "state", "since", "until")),
            filtered=bool(given),
            names=self._names,
            states=STATES,
            next=_next(given, page, scope),
            first=_first(given),
            caveats=_caveats(page),
        )

    async def waits(self, request: Request, visit: Visit) -> Response:
        """Show a page of the open waits, the oldest first."""
        given = _given(request, ("person", "workflow", "audience", "cursor"))
        chosen = WaitFilter(
            workflow=given.get("workflow"),
            audience=_one_of(given, "audience", AUDIENCES),
            person=given.get("person"),
        )

        if chosen.workflow is not None and not is_workflow_name(chosen.workflow):
            raise invalid("workflow", "must be the name of a workflow.")

        scope = ("console waits", *astuple(chosen))
        page = await list_waits(self._edge.engine, chosen, limit=_ROWS, after=_position(given, scope))
        now = self._now()

        return console_page(
            "console_waits.html",
            visit.frame,
            rows=[drawn_wait(visit.frame, row, now) for row in page.rows],
            given=_filled(given, ("person", "workflow", "audience")),
            filtered=bool(given),
            names=self._names,
            next=_next(given, page, scope),
            first=_first(given),
            caveats=_caveats(page),
        )

    async def find(self, request: Request, visit: Visit) -> Response:
        """Lead to the run with this id, or to what waits for this person; ask what to find without either."""
        text = _given(request, ("q",)).get("q", "")
        found = await self._found(text)

        if len(found) == 1:
            return redirect(visit.frame.run(found[0]))

        if text and not found and (await list_waits(self._edge.engine, WaitFilter(person=text), limit=1)).rows:
            return redirect(f"{visit.frame.base}/waits?{urlencode({'person': text})}")

        runs = [(str(name), visit.frame.run(name)) for name in found]

        return console_page("console_find.html", visit.frame, text=text, runs=runs)

    async def _found(self, text: str) -> Sequence[RootName]:
        """Return the runs that this text may name: an id, a workflow's name and an id, or a step's promise."""
        workflow, _, rest = text.partition(".")
        candidates = [*(RootName(name, text) for name in self._names), RootName(workflow, rest), name_of_root(text)]
        usable = [each for each in dict.fromkeys(candidates) if is_workflow_name(each.workflow)]
        looks = [self._exists(each) for each in usable if is_workflow_id(each.id)]

        return [each for each in await asyncio.gather(*looks) if each is not None]

    async def _exists(self, name: RootName) -> RootName | None:
        try:
            await self._edge.engine.promises.get(root_id_of(*name))
        except UnknownPromise:
            return None

        return name

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._edge.clock(), tz=UTC)


def _given(request: Request, names: Collection[str]) -> dict[str, str]:
    """Return the parameters that have a value. A form also sends the fields that its reader has left empty."""
    given: dict[str, str] = {}

    for name in names:
        values = [value for text in request.query_params.getlist(name) if (value := text.strip())]

        if len(values) > 1 or any(len(value) > _LONGEST for value in values):
            raise Problem("invalid-parameter", f"The parameter `{name}` is given twice, or is too long.")

        if values:
            given[name] = values[0]

    return given


def _filled(given: Mapping[str, str], names: Collection[str]) -> Mapping[str, str]:
    """Return the values of a form's fields, empty where nothing was given."""
    return {name: given.get(name, "") for name in names}


def _one_of[Choice: str](given: Mapping[str, str], name: str, choices: Collection[Choice]) -> Choice | None:
    value = given.get(name)

    for choice in choices:
        if choice == value:
            return choice

    if value is not None:
        raise invalid(name, f"must be one of {', '.join(choices)}.")

    return None


def _day(given: Mapping[str, str], name: str, frame: Frame, *, end: bool = False) -> int | None:
    """Return when this day begins or ends where the reader is, in milliseconds since the epoch."""
    text = given.get(name)

    if text is None:
        return None

    try:
        begins = frame.moments.midnight(text)
        moment = begins + timedelta(days=1) if end else begins

        return int(moment.timestamp() * 1000) - (1 if end else 0)
    except (ValueError, OverflowError):
        raise invalid(name, "must be a day such as 2026-11-21.") from None


def _position(given: Mapping[str, str], scope: Sequence[object]) -> Position | None:
    cursor = given.get("cursor")

    try:
        return None if cursor is None else position_of(cursor, scope)
    except ValueError:
        raise invalid("cursor", "belongs to another list. Begin with the first page.") from None


def _next(given: Mapping[str, str], page: Page[Any], scope: Sequence[object]) -> str | None:
    return None if page.next is None else f"?{urlencode({**given, 'cursor': cursor_of(page.next, scope)})}"


def _first(given: Mapping[str, str]) -> str | None:
    """Return the address of the first page, None if that is what is shown."""
    filters = {name: value for name, value in given.items() if name != "cursor"}

    return f"?{urlencode(filters)}" if "cursor" in given else None


def _caveats(*pages: Page[Any]) -> Sequence[str]:
    return list(dict.fromkeys(caveat for page in pages for caveat in page.caveats))
