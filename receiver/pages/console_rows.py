"""Rows of the console's lists, as templates draw them: texts from strangers are cleaned and cut to length."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from orchestrator.text.display import one_line
from orchestrator.text.times import duration, time_left, utc
from receiver.pages.story import listed

if TYPE_CHECKING:
    from datetime import datetime

    from orchestrator.runs.listing import WaitRow, WorkflowRow
    from receiver.pages.console import Frame

_MAX_TITLE: Final = 120
_MAX_PERSON: Final = 320


def drawn_workflow(frame: Frame, row: WorkflowRow, now: datetime) -> dict[str, Any]:
    """Return what a list shows of a workflow."""
    started = utc(row.started_at)
    ended = now if row.ended_at is None else utc(row.ended_at)

    return {
        "workflow": row.name.workflow,
        "id": row.name.id,
        "href": frame.run(row.name),
        "state": row.state,
        "started": frame.moments.at(started),
        "took": duration(timedelta(seconds=max((ended - started).total_seconds() // 1, 0))),
        "over": row.ended_at is not None,
        "parent": None if row.parent is None else {"name": str(row.parent), "href": frame.run(row.parent)},
        "fault": row.fault,
    }


def drawn_wait(frame: Frame, row: WaitRow, now: datetime) -> dict[str, Any]:
    """Return what a list shows of an open wait."""
    opened = utc(row.opened_at)
    people = row.people or ()

    return {
        "workflow": row.name.workflow,
        "id": row.name.id,
        "run": frame.run(row.name),
        "href": frame.run(row.name, "steps", row.promise_id.partition(":")[2]),
        "title": one_line(row.title or "", _MAX_TITLE) or row.callback,
        "whom": listed(people) if people else one_line(row.subject, _MAX_PERSON) or "a machine",
        "opened": frame.moments.at(opened),
        "age": time_left((now - opened).total_seconds()),
        "until": frame.moments.at(utc(row.expires_at)),
        "left": time_left(row.expires_at / 1000 - now.timestamp()),
        "fault": row.fault,
    }
