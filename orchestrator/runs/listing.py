"""Lists of workflows and of open waits, a page at a time, on every engine.

What an engine finds by what is not encrypted are candidates. Each is shown, or left out, by what its record says, and
only the records of a page are read. A row whose record cannot be relied on is not left out: it says so, and is found by
what the engine knows of it. A page may have fewer rows than its limit, or none, although there are more: then
many records had to be read to find them. A cursor is a position, so whatever starts and ends meanwhile, a walk from the
first page to the last finds everything that was there all the time exactly once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, cast, get_args

from orchestrator.callbacks.answerers import Answerers
from orchestrator.callbacks.claims import Audience
from orchestrator.callbacks.question import Inquiry
from orchestrator.engine.search import RootSearch, WaitSearch, status_of
from orchestrator.errors import EngineUnavailable
from orchestrator.failures import is_tampered
from orchestrator.runs.root_ids import RootName, name_of_root
from orchestrator.runs.roots import State, view_root
from orchestrator.stored_names import AUDIENCE_TAG, CALLBACK_TAG, PARENT_TAG

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from resonate.types import PromiseRecord

    from orchestrator.engine import Engine
    from orchestrator.engine.search import Found, Position, Status

#: The states in which a workflow can be.
STATES: Final[tuple[State, ...]] = get_args(State.__value__)

#: Who may answer a wait.
AUDIENCES: Final[tuple[Audience, ...]] = get_args(Audience.__value__)

#: How many rows a page has at most, and how many unless somebody asks for another number.
MOST_ROWS: Final = 200
USUAL_ROWS: Final = 50

#: How many times one page asks the engine for more candidates.
_LOOKS: Final = 5


@dataclass(frozen=True, kw_only=True)
class WorkflowRow:
    """A workflow in a list; times are in milliseconds since the epoch. `parent` is what started it as a sub-workflow.

    `fault` says why its record cannot be relied on, None if it can. Then `state` is what the record says if that is
    genuine, `failed` for one that was tampered with, and otherwise what the engine knows without reading it.
    """

    name: RootName
    state: State
    started_at: int
    ended_at: int | None
    parent: RootName | None = None
    fault: str | None = None


@dataclass(frozen=True, kw_only=True)
class WaitRow:
    """An open wait in a list; times are in milliseconds since the epoch.

    `title` and `people` are those of a question, None for every other wait. `fault` says why the record of the wait
    cannot be read, None if it can.
    """

    name: RootName
    promise_id: str
    callback: str
    audience: Audience
    subject: str
    opened_at: int
    expires_at: int
    title: str | None = None
    people: tuple[str, ...] | None = None
    fault: str | None = None


@dataclass(frozen=True, kw_only=True)
class Page[Row]:
    """Rows, the position where the next page begins (None behind the last page), and what the engine could not do."""

    rows: Sequence[Row]
    next: Position | None
    caveats: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class WorkflowFilter:
    """Which workflows are listed. `since` and `until` are moments of the start, in milliseconds, both included."""

    name: str | None = None
    state: State | None = None
    since: int | None = None
    until: int | None = None


@dataclass(frozen=True, kw_only=True)
class WaitFilter:
    """Which open waits are listed; `person` is somebody who may answer."""

    workflow: str | None = None
    audience: Audience | None = None
    person: str | None = None


_TAMPERED: Final = "the store was tampered with"
_UNREADABLE: Final = "its record cannot be read: a payload key is missing, or the store is damaged"


async def list_workflows(
    engine: Engine, chosen: WorkflowFilter, *, limit: int = USUAL_ROWS, before: Position | None = None
) -> Page[WorkflowRow]:
    """Return a page of workflows, the latest start first: those before a position, or the first page.

    Raises:
        EngineUnavailable: the engine did not answer, or cannot be searched; says why.
    """
    search = RootSearch(
        limit=limit,
        before=before,
        workflow=chosen.name,
        statuses=frozenset() if chosen.state is None else frozenset({cast("Status", chosen.state)}),
        since=chosen.since,
        until=chosen.until,
    )

    async def row(record: PromiseRecord) -> WorkflowRow | None:
        made = _workflow_row(record, await engine.promises.decoded(record))

        # One that cannot be relied on is listed under the state that the engine has, so that no filter hides it.
        return made if chosen.state in {None, made.state} or made.fault is not None else None

    async def look(position: Position | None, rows: int) -> Found:
        return await engine.search.roots(replace(search, before=position, limit=rows))

    return await _page(look, row, limit, before)


async def list_waits(
    engine: Engine, chosen: WaitFilter, *, limit: int = USUAL_ROWS, after: Position | None = None
) -> Page[WaitRow]:
    """Return a page of open waits, the oldest first: those after a position, or the first page.

    Raises:
        EngineUnavailable: as for `list_workflows`.
    """
    search = WaitSearch(
        limit=limit,
        after=after,
        workflow=chosen.workflow,
        audience=chosen.audience,
        people=frozenset() if chosen.person is None else engine.people.of(chosen.person),
    )

    async def row(record: PromiseRecord) -> WaitRow | None:
        if record.timeout_at <= engine.clock() * 1000:
            # The engine has not got round to ending it.
            return None

        plain = await engine.promises.decoded(record)
        made = _wait_row(record, plain)

        if made.fault is not None:
            # It is listed by its tags, so that no filter hides it.
            return made

        answerers = Answerers(audience=made.audience, subject=made.subject, people=made.people or ())
        is_asked = chosen.person is None or answerers.includes(chosen.person)

        return made if chosen.audience in {None, made.audience} and is_asked else None

    async def look(position: Position | None, rows: int) -> Found:
        return await engine.search.waits(replace(search, after=position, limit=rows))

    return await _page(look, row, limit, after)


async def _page[Row](
    look: Callable[[Position | None, int], Awaitable[Found]],
    row: Callable[[PromiseRecord], Awaitable[Row | None]],
    limit: int,
    position: Position | None,
) -> Page[Row]:
    """Return the rows of the candidates behind a position, after a bounded number of looks for more."""
    rows: list[Row] = []
    caveats: dict[str, None] = {}

    for _ in range(_LOOKS):
        found = await look(position, limit - len(rows))
        rows += [made for record in found.records if (made := await row(record)) is not None]
        caveats |= dict.fromkeys(found.caveats)
        position = found.next

        if position is None or len(rows) >= limit:
            break

    return Page(rows=rows, next=position, caveats=tuple(caveats))


def _workflow_row(record: PromiseRecord, plain: PromiseRecord | None) -> WorkflowRow:
    """Return the row of a root, given its record as the engine has it and decoded."""
    parent = record.tags.get(PARENT_TAG)
    fields: dict[str, Any] = {
        "name": name_of_root(record.id),
        "started_at": record.created_at,
        "ended_at": record.settled_at,
        "parent": None if parent is None else name_of_root(parent),
    }

    try:
        view = None if plain is None else view_root(plain)
    except EngineUnavailable:
        view = None

    status = status_of(record.state, record.value.headers)

    if plain is None or view is None:
        return WorkflowRow(**fields, state="failed" if status == "ended" else status, fault=_UNREADABLE)

    # The state that a header names is not encrypted. It is written together with the end, so they agree unless changed.
    changed = is_tampered(plain) or status not in {view.state, "ended"}

    return WorkflowRow(**fields, state=view.state, fault=_TAMPERED if changed else None)


def _wait_row(record: PromiseRecord, plain: PromiseRecord | None) -> WaitRow:
    inquiry = None if plain is None else Inquiry.read(plain)
    answerers = Answerers(audience=_audience_tag(record)) if plain is None else Answerers.read(plain)
    # The audience that a tag names is not encrypted. A wait from before waits had it has no such tag.
    changed = plain is not None and (
        is_tampered(plain) or record.tags.get(AUDIENCE_TAG) not in {answerers.audience, None}
    )
    fault = _UNREADABLE if plain is None else _TAMPERED if changed else None

    return WaitRow(
        name=name_of_root(record.id),
        promise_id=record.id,
        callback=record.tags[CALLBACK_TAG],
        audience=answerers.audience,
        subject=answerers.subject,
        opened_at=record.created_at,
        expires_at=record.timeout_at,
        title=None if inquiry is None else inquiry.question.title,
        people=None if inquiry is None else answerers.people,
        fault=fault,
    )


def _audience_tag(record: PromiseRecord) -> Audience:
    return "approver" if record.tags.get(AUDIENCE_TAG) == "approver" else "machine"
