"""What a run is about at this moment, in one sentence: whom it waits for and since when, or how it ended.

The sentence is for people. It is made of texts and moments, so that a page can show each moment exactly.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from orchestrator.errors import CANCELLED
from orchestrator.text.display import one_line
from orchestrator.text.times import duration, utc

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from orchestrator.durable.try_records import TryRecord
    from orchestrator.runs.roots import RootView
    from orchestrator.runs.step_view import StepView

    #: A sentence: texts, and moments between them.
    type Story = tuple[str | datetime, ...]

_MAX_NAME: Final = 120
_MAX_ERROR: Final = 300
_PEOPLE: Final = 3
_TIMES: Final = {1: "once", 2: "twice"}


def story_of(
    view: RootView,
    steps: Sequence[StepView],
    *,
    held: TryRecord | None = None,
    reminded: Mapping[str, int] | None = None,
) -> Story:
    """Return the sentence about this workflow and these of its steps.

    `held` is why it cannot go on, and `reminded` how often people were reminded, by the id of the wait's promise.
    """
    if view.state != "running":
        return _ended(view)

    if held is not None:
        return ("It cannot go on since ", utc(held.at), f": {one_line(held.error, _MAX_ERROR)}.")

    still = [step for step in steps if step.state == "running"]

    return _waits(still, reminded or {}) or _failing(still) or _under_way(still) or ("It has not begun yet.",)


def wait_story(step: StepView, *, ended: str | None, reminded: int = 0) -> Story:
    """Return the sentence about one wait; `ended` says who or what ended it, None while it is open."""
    if step.ended_at is None:
        return _waits([step], {step.id: reminded}) or ("It is open.",)

    how = ended or "it is over"

    return (f"{how[:1].upper()}{how[1:]}, ", utc(step.ended_at), ".")


def _ended(view: RootView) -> Story:
    if view.ended_at is None:
        return ("It is over.",)

    took = duration(timedelta(milliseconds=view.ended_at - view.started_at))
    how = {
        "succeeded": f"Finished after {took}, ",
        "failed": f"Failed after {took}, ",
        "expired": f"Nobody answered in time: it expired after {took}, ",
        "cancelled": f"Cancelled after {took}, ",
    }[view.state]
    message = "" if view.state == "succeeded" else _message(view.error)

    return (how, utc(view.ended_at), f": {message}" if message else ".")


def _message(error: str | None) -> str:
    """Return the message of a workflow's error as a sentence's end, empty if there is none that says more."""
    document = None if error is None else json.loads(error)
    message = document.get("message") if isinstance(document, dict) else None

    if not isinstance(message, str) or not message.strip() or message == CANCELLED:
        return ""

    shown = one_line(message, _MAX_ERROR)

    return shown if shown.endswith((".", "!", "?", "…")) else f"{shown}."


def _waits(still: Iterable[StepView], reminded: Mapping[str, int]) -> Story | None:
    """Return whom or what it waits for; people first, since they can be asked."""
    waits = [step for step in still if step.waits == "callback"]
    asked = [step for step in waits if step.asked is not None]

    if not waits:
        return None

    if not asked:
        names = listed([f"“{one_line(step.name, _MAX_NAME)}”" for step in waits])

        return (f"Waiting for the {'answer' if len(waits) == 1 else 'answers'} to {names} since ", _since(waits), ".")

    people = [person for step in asked if step.asked for person in step.asked.inquiry.people]
    count = max(reminded.get(step.id, 0) for step in asked)
    rest = len(waits) - len(asked)
    also = f", and for {rest} other {'answer' if rest == 1 else 'answers'}" if rest else ""
    told = f"; reminded {_TIMES.get(count, f'{count} times')}" if count else ""

    return (f"Waiting for {listed(list(dict.fromkeys(people)))} since ", _since(asked), f"{also}{told}.")


def _failing(still: Iterable[StepView]) -> Story | None:
    for step in still:
        if step.tries:
            last = step.tries[-1]
            name = one_line(step.name, _MAX_NAME)
            times = "once" if last.number == 1 else f"{last.number} times"
            said: Story = (f"The step “{name}” has failed {times}, last ", utc(last.at))

            return (*said, ".") if last.next_at is None else (*said, ". The next try: ", utc(last.next_at), ".")

    return None


def _under_way(still: Sequence[StepView]) -> Story | None:
    for step in still:
        if step.child is not None:
            return (f"Waiting for the workflow {step.child} since ", utc(step.started_at), ".")

    for step in still:
        if step.waits == "time" and step.until is not None:
            return ("Sleeping until ", utc(step.until), ".")

    for step in still:
        return (f"The step “{one_line(step.name, _MAX_NAME)}” has been running since ", utc(step.started_at), ".")

    return None


def _since(steps: Iterable[StepView]) -> datetime:
    return utc(min(step.started_at for step in steps))


def listed(names: Sequence[str]) -> str:
    """Return names as people list them, `a, b and 3 more`; at most three are named."""
    shown = [one_line(name, _MAX_NAME) for name in names[:_PEOPLE]]

    if len(names) > _PEOPLE:
        shown.append(f"{len(names) - _PEOPLE} more")

    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
