"""A workflow as a page: its story, what it waits for, its steps, when each started, and how each ended.

It is rendered on the server, with no script and nothing loaded from elsewhere, so the page works under a policy that
forbids everything but its own style. Everything shown comes from third parties or from code, so it is escaped, cut to
length, and unprintable characters are replaced.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import quote

from orchestrator.durable.parts import depth_of
from orchestrator.runs.root_ids import root_id_of
from orchestrator.text.times import duration, utc
from receiver.pages.moments import Moments
from receiver.pages.templating import TEMPLATES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchestrator.runs.root_ids import RootName
    from receiver.pages.console import Frame
    from receiver.pages.story import Story

    #: What somebody did to a run: who did what, when in milliseconds since the epoch, and why.
    type Note = tuple[str, int, str]

    #: What a step is drawn as: work, somebody's answer that is waited for, or a sleep.
    type Kind = Literal["step", "wait", "sleep"]

MAX_STEPS: Final = 500
_MAX_NAME: Final = 120
_MAX_ID: Final = 240
_MAX_TEXT: Final = 4000
_MAX_DEPTH: Final = 4
_SCALE: Final = 1000
_SLIVER: Final = 6.0
_STATES: Final = frozenset({"running", "succeeded", "failed", "expired", "cancelled"})


@dataclass(frozen=True, kw_only=True)
class Link:
    """Something that leads to another page: a button's text and its address."""

    text: str
    href: str
    danger: bool = False


@dataclass(frozen=True, kw_only=True)
class TimelineStep:
    """One durable step; times are RFC 3339 texts, `ended_at` is None while the step is running.

    `child` is the sub-workflow that the step runs, and `tried` a sentence on its last failed try. `told` says what a
    wait asks and how it was answered, and `href` leads to the page of a wait. `elsewhere` leads to what a step
    has started in another system; its address is empty if that is not known.
    """

    id: str
    name: str
    state: str
    started_at: str | None
    ended_at: str | None
    child: RootName | None = None
    tried: str | None = None
    kind: Kind = "step"
    told: Sequence[str] = ()
    href: str | None = None
    elsewhere: Link | None = None


@dataclass(frozen=True, kw_only=True)
class Decided:
    """A person's decision, or an operator's answer with its `reason`. `at` is an RFC 3339 text.

    `digest` is that of the question as it was shown.
    """

    what: str
    decision: str
    by: str
    at: str
    comment: str = ""
    reason: str | None = None
    digest: str | None = None
    tone: str = "running"


@dataclass(frozen=True, kw_only=True)
class TimelineView:
    """What the page shows of a workflow. `result` and `error` are JSON texts; `more` means that some are left out.

    `parent` is the workflow that started it as a sub-workflow. `held_up` says why it cannot go on, None if it can.
    `story` is the run in one sentence, `input` the JSON text that it was started with. `actions` lead to forms,
    `notes` are what people did to it, and `done` is what the reader has just done.
    `begins` says that the steps are the first ones.
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
    story: Story = ()
    input: str | None = None
    decided: tuple[Decided, ...] = ()
    actions: tuple[Link, ...] = ()
    notes: tuple[Note, ...] = ()
    done: str | None = None
    begins: bool = True


def render(  # noqa: PLR0913 - each with a default that is right outside the console
    view: TimelineView,
    nonce: str,
    *,
    organisation: str,
    frame: Frame | None = None,
    refresh: Link | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> str:
    """Return the page as HTML, with the name of this organisation. It shows at most the first `MAX_STEPS` steps.

    In the console, `frame` surrounds it, and `refresh` leads to the same page with its updates paused or resumed.
    """
    as_of = now()
    moments = Moments() if frame is None else frame.moments
    steps = view.steps[:MAX_STEPS]
    times = [time for step in steps for time in (_parse(step.started_at), _parse(step.ended_at)) if time]
    begin = _parse(view.started_at) or min(times, default=as_of)
    ended = _parse(view.ended_at)
    end = max([ended or as_of, *times])
    page = {
        "workflow": _clean(view.workflow, _MAX_NAME),
        "id": _clean(view.id, _MAX_ID),
        "state": _state(view.state),
        "started": _moment(begin, moments),
        "ended": _moment(ended, moments),
        "took": duration((ended or as_of) - begin),
        "result": _pretty(view.result),
        "error": _pretty(view.error),
        "rows": [{**_row(step, begin, end, as_of, moments), "id": _local(step.id, view)} for step in steps],
        "left_out": len(view.steps) - len(steps),
        "rest": _local(steps[-1].id, view) if frame is not None and (view.more or len(view.steps) > len(steps)) else "",
        "begins": view.begins,
        "more": view.more,
        "as_of": _moment(as_of, moments),
        "parent": _linked(view.parent),
        "held_up": _clean(view.held_up or "", _MAX_TEXT),
        "story": [part if isinstance(part, str) else moments.in_words(part, as_of) for part in view.story],
        "input": _pretty(view.input),
        "decided": [_decided(one, moments) for one in view.decided],
        "actions": view.actions,
        "notes": [_noted(note, moments, as_of) for note in view.notes],
        "done": view.done,
        "zone": moments.zone,
        "waits": any(step.kind != "step" for step in steps),
    }
    return TEMPLATES.get_template("timeline.html").render(
        page=page, nonce=nonce, organisation=organisation, frame=frame, refresh=refresh
    )


def _row(step: TimelineStep, begin: datetime, end: datetime, as_of: datetime, moments: Moments) -> dict[str, object]:
    started, ended = _parse(step.started_at), _parse(step.ended_at)
    row: dict[str, object] = {
        "name": _clean(step.name, _MAX_NAME),
        "state": _state(step.state),
        "depth": min(depth_of(step.id), _MAX_DEPTH),
        "started": _moment(started, moments),
        "closed": ended is not None,
        "took": "",
        "child": _linked(step.child),
        "tried": _clean(step.tried or "", _MAX_NAME * 3),
        "kind": step.kind,
        "told": [_clean(line, _MAX_NAME * 4) for line in step.told],
        "href": step.href,
        "elsewhere": step.elsewhere,
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


def _decided(one: Decided, moments: Moments) -> dict[str, object]:
    return {
        "what": _clean(one.what, _MAX_ID),
        "decision": _clean(one.decision, _MAX_NAME),
        "by": _clean(one.by, _MAX_ID),
        "at": moments.at(datetime.fromisoformat(one.at)),
        "comment": _clean(one.comment, _MAX_TEXT),
        "reason": _clean(one.reason or "", _MAX_TEXT),
        "digest": one.digest,
        "tone": _state(one.tone),
    }


def _noted(note: Note, moments: Moments, as_of: datetime) -> dict[str, object]:
    what, at, why = note

    return {"what": _clean(what, _MAX_ID), "at": moments.in_words(utc(at), as_of), "why": _clean(why, _MAX_TEXT)}


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


def _moment(time: datetime | None, moments: Moments) -> dict[str, str] | None:
    return None if time is None else moments.at(time, seconds=True)


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
