"""A workflow's durable call graph as a page: its steps, when each started, and how each ended.

It is rendered on the server, with no script and nothing loaded from elsewhere, so the page works under a policy that
forbids everything but its own style. Everything shown comes from third parties or from code, so it is escaped, cut to
length, and unprintable characters are replaced.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from orchestrator.runs.root_ids import root_id_of
from orchestrator.text.times import duration, to_the_second
from receiver.pages.templating import TEMPLATES

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.runs.root_ids import RootName

MAX_STEPS: Final = 500
_MAX_NAME: Final = 120
_MAX_ID: Final = 240
_MAX_TEXT: Final = 4000
_MAX_DEPTH: Final = 4
_SCALE: Final = 1000
_SLIVER: Final = 6.0
_STATES: Final = frozenset({"running", "succeeded", "failed", "expired", "cancelled"})
_TEMPLATE: Final = TEMPLATES.get_template("timeline.html")


@dataclass(frozen=True, kw_only=True)
class TimelineStep:
    """One durable step; times are RFC 3339 texts, `ended_at` is None while the step is running.

    `child` is the sub-workflow that the step runs, `tried` a sentence on its last failed try, and `by_hand` one on what
    operators did about it.
    """

    id: str
    name: str
    state: str
    started_at: str | None
    ended_at: str | None
    child: RootName | None = None
    tried: str | None = None
    by_hand: str | None = None


@dataclass(frozen=True, kw_only=True)
class TimelineView:
    """What the page shows of a workflow. `result` and `error` are JSON texts; `more` means that some are left out.

    `parent` is the workflow that started it as a sub-workflow. `held_up` says why it cannot go on, None if it can.
    """

    workflow: str
    id: str
    state: str
    started_at: str | None = None
    ended_at: str | None = None
    result: str | None = None
    error: str | None = None
    steps: tuple[TimelineStep, ...] = ()
    more: bool = False
    parent: RootName | None = None
    held_up: str | None = None


def render(
    view: TimelineView, nonce: str, *, organisation: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> str:
    """Return the page as HTML, with the name of this organisation. It shows at most the first `MAX_STEPS` steps."""
    as_of = now()
    steps = view.steps[:MAX_STEPS]
    times = [time for step in steps for time in (_parse(step.started_at), _parse(step.ended_at)) if time]
    begin = _parse(view.started_at) or min(times, default=as_of)
    ended = _parse(view.ended_at)
    end = max([ended or as_of, *times])
    page = {
        "workflow": _clean(view.workflow, _MAX_NAME),
        "id": _clean(view.id, _MAX_ID),
        "state": _state(view.state),
        "started": _moment(begin),
        "ended": _moment(ended),
        "took": duration((ended or as_of) - begin),
        "result": _pretty(view.result),
        "error": _pretty(view.error),
        "rows": [{**_row(step, begin, end, as_of), "id": _local(step.id, view)} for step in steps],
        "left_out": len(view.steps) - len(steps),
        "more": view.more,
        "as_of": _moment(as_of),
        "parent": _linked(view.parent),
        "held_up": _clean(view.held_up or "", _MAX_TEXT),
    }
    return _TEMPLATE.render(page=page, nonce=nonce, organisation=organisation)


def _row(step: TimelineStep, begin: datetime, end: datetime, as_of: datetime) -> dict[str, object]:
    started, ended = _parse(step.started_at), _parse(step.ended_at)
    row: dict[str, object] = {
        "name": _clean(step.name, _MAX_NAME),
        "state": _state(step.state),
        "depth": min(step.id.rpartition(":")[2].count("."), _MAX_DEPTH),
        "started": _moment(started),
        "closed": ended is not None,
        "took": "",
        "child": _linked(step.child),
        "tried": _clean(step.tried or "", _MAX_NAME * 3),
        "by_hand": _clean(step.by_hand or "", _MAX_TEXT),
    }
    if started is None:
        return row

    whole = max((end - begin).total_seconds(), 0.001)
    left = _clamp((started - begin).total_seconds() / whole * _SCALE, _SCALE - _SLIVER)
    right = _clamp(((ended or end) - begin).total_seconds() / whole * _SCALE, _SCALE)
    return row | {
        "after": f"+{duration(started - begin)}",
        "took": duration((ended or as_of) - started),
        "left": f"{left:.1f}",
        "width": f"{max(right - left, _SLIVER):.1f}",
    }


def _linked(name: RootName | None) -> dict[str, str] | None:
    """Return another workflow with the address of its page, relative to this one: the public path may be anywhere."""
    if name is None:
        return None

    return {"name": _clean(str(name), _MAX_ID), "href": f"../{quote(name.workflow)}/{quote(name.id)}"}


def _local(step_id: str, view: TimelineView) -> str:
    """Return a step's id without the workflow's id, which the page shows once: `2.1` of `pipeline.nightly:2.1`."""
    return _clean(step_id.removeprefix(f"{root_id_of(view.workflow, view.id)}:"), _MAX_ID)


def _clamp(value: float, most: float) -> float:
    return min(max(value, 0.0), most)


def _state(state: str) -> str:
    return state if state in _STATES else "running"


def _parse(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _moment(time: datetime | None) -> dict[str, str] | None:
    if time is None:
        return None

    machine = time.astimezone(UTC).isoformat(timespec="milliseconds")

    return {"machine": machine, "shown": to_the_second(time)}


def _pretty(text: str | None) -> str:
    """Return a JSON text with indentation, and any other text unchanged."""
    if text is None:
        return ""

    try:
        return _clean(json.dumps(json.loads(text), indent=2, ensure_ascii=False), _MAX_TEXT)
    except ValueError:
        return _clean(text, _MAX_TEXT)


def _clean(text: str, limit: int) -> str:
    shown = text if len(text) <= limit else f"{text[: limit - 1]}…"
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in shown)
