"""Workflows, their steps and failed tries as the workflow API shows them: JSON objects, with times in RFC 3339."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from orchestrator.runs.root_ids import name_of_root
from orchestrator.text.times import rfc3339, to_the_second, utc
from receiver.surfaces.approval_record import approval_document, settled_document

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.durable.try_records import TryRecord
    from orchestrator.runs.roots import RootView
    from orchestrator.runs.step_view import StepView


def workflow_document(view: RootView) -> dict[str, Any]:
    """Return how a workflow stands."""
    document: dict[str, Any] = {**name_of_root(view.root_id).document(), "state": view.state}

    if view.result is not None:
        document["result"] = json.loads(view.result)

    if view.error is not None:
        document["error"] = json.loads(view.error)

    if view.parent_name is not None:
        document["parent"] = view.parent_name.document()

    if view.again is not None:
        document["again"] = {"of": view.again.name.document(), "by": view.again.by, "reason": view.again.reason}

    return document


def step_document(step: StepView) -> dict[str, Any]:
    """Return all that is known of a step."""
    document = step_summary(step)

    if step.asked is not None:
        document["approval"] = approval_document(step.asked, step.outcome)

    if step.outcome is not None:
        note = {} if step.outcome.note is None else {"note": step.outcome.note}
        document["settled"] = {"outcome": step.outcome.kind, **settled_document(step.outcome), **note}

    if step.later is not None:
        message = {"message": step.later.message} if step.later.message else {}
        document["later"] = {"outcome": step.later.kind, **settled_document(step.later), **message}

    if step.reminders:
        document["reminders"] = [{"at": rfc3339(one.at), "by": one.by, "reason": one.reason} for one in step.reminders]

    if step.child is not None:
        document["child"] = step.child.document()

    if step.progress is not None:
        document["progress"] = {
            "fraction": step.progress.fraction,
            "message": step.progress.message,
            "at": rfc3339(step.progress.at),
        }

    if step.tries:
        document["tries"] = [try_document(one) for one in step.tries]

    return document


def last_try(step: StepView) -> str | None:
    """Return the last failed try of a step as a sentence, None if it has none."""
    if not step.tries:
        return None

    last = step.tries[-1]
    then = "no further try" if last.next_at is None else f"next try at {to_the_second(utc(last.next_at))}"

    return f"try {last.number} failed: {last.error}; {then}"


def later_answer(step: StepView) -> str | None:
    """Return the answer that came after the one that counts as a sentence, None if none is kept."""
    if step.later is None:
        return None

    return f"a later answer by the {step.later.by} changed nothing: {step.later.kind} {step.later.message}".rstrip()


def by_hand(step: StepView) -> str | None:
    """Return that an operator answered a wait, as a sentence; None if nobody did."""
    outcome = step.outcome

    if outcome is None or outcome.by != "operator":
        return None

    return f"answered by hand by {outcome.subject} ({outcome.kind}): {outcome.reason}"


def reminded(step: StepView) -> Iterator[str]:
    """Yield the reminders that operators asked for, each as a sentence."""
    for one in step.reminders:
        why = f": {one.reason}" if one.reason else ""
        yield f"reminded by hand by {one.by} at {to_the_second(utc(one.at))}{why}"


def try_document(one: TryRecord) -> dict[str, Any]:
    """Return a failed try, or what holds a workflow up."""
    return {
        "number": one.number,
        "at": rfc3339(one.at),
        "error": one.error,
        "next_at": None if one.next_at is None else rfc3339(one.next_at),
    }


def step_summary(step: StepView) -> dict[str, Any]:
    """Return what every view of a step has."""
    return {
        "id": step.id,
        "name": step.name,
        "state": step.state,
        "started_at": rfc3339(step.started_at),
        "ended_at": None if step.ended_at is None else rfc3339(step.ended_at),
    }
