"""What the page of a run shows, put together from the records of the run and its steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.approvals.decision import Decision
from orchestrator.approvals.wording import past
from orchestrator.callbacks.outcomes import CLOSED
from orchestrator.databricks.workspace_address import is_web_page, run_page
from orchestrator.runs.root_ids import name_of_root
from orchestrator.text.display import one_line
from orchestrator.text.times import rfc3339, to_the_second, utc
from receiver.pages.story import listed, story_of
from receiver.pages.timeline import Decided, Link, TimelineStep, TimelineView
from receiver.surfaces.workflow_document import by_hand, last_try, later_answer, step_summary
from receiver.surfaces.workflow_document import reminded as reminders_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from orchestrator.callbacks.outcomes import By
    from orchestrator.durable.try_records import TryRecord
    from orchestrator.runs.roots import RootView
    from orchestrator.runs.step_view import JobRunName, StepView
    from receiver.pages.timeline import Note

_MAX_TITLE: Final = 120

#: Who or what ended a wait that no person decided.
_ENDED_BY: Final[Mapping[By, str]] = {
    "callback": "answered by its callback",
    "webhook": "answered by a third party's webhook",
    "watcher": "ended by the watcher, which found that the job was over",
    "deadline": "nobody answered before the deadline",
    "cancel": "withdrawn, because the workflow was cancelled",
    "workflow": "withdrawn by the workflow",
    "approver": "decided by a person",
    "operator": "answered by hand",
    "engine": "settled in the engine, by nobody that Countersign knows",
}


def run_view(  # noqa: PLR0913 - one call, all of it named
    view: RootView,
    steps: Sequence[StepView],
    *,
    more: bool,
    held: TryRecord | None,
    reminded: Mapping[str, int] | None = None,
    workspace: str | None = None,
    address: Callable[[StepView], str | None] = lambda _: None,
    actions: tuple[Link, ...] = (),
    notes: tuple[Note, ...] = (),
    done: str | None = None,
    begins: bool = True,
) -> TimelineView:
    """Return what the page of this run shows.

    `reminded` is how often people had a planned reminder, by the ids of the waits. `workspace` is the address of the
    Databricks workspace as it was configured. `address` returns where the page of a step is, None if it has none.
    """
    name = name_of_root(view.root_id)

    return TimelineView(
        workflow=name.workflow,
        id=name.id,
        state=view.state,
        started_at=rfc3339(view.started_at),
        ended_at=None if view.ended_at is None else rfc3339(view.ended_at),
        result=view.result,
        error=view.error,
        steps=tuple(_step(step, address(step), workspace) for step in steps),
        parent=view.parent_name,
        held_up=None if held is None else held.error,
        more=more,
        story=story_of(view, steps, held=held, reminded=_reminded(steps, reminded or {})),
        input=view.request,
        actions=actions,
        notes=(*_started_again(view), *notes),
        done=done,
        begins=begins,
        decided=tuple(decision for step in steps if (decision := decided(step)) is not None),
    )


def _started_again(view: RootView) -> Iterator[Note]:
    """Yield who started this run again from which earlier one, if somebody did."""
    if view.again is not None:
        yield (f"Started again from {view.again.name} by {view.again.by}", view.started_at, view.again.reason)


def _reminded(steps: Sequence[StepView], scheduled: Mapping[str, int]) -> Mapping[str, int]:
    """Return how often people were reminded: as their workflow had planned, and by hand."""
    by_hand = {step.id: step.reminders[-1].number for step in steps if step.reminders}

    return {wait: scheduled.get(wait, 0) + by_hand.get(wait, 0) for wait in {*scheduled, *by_hand}}


def _step(step: StepView, href: str | None, workspace: str | None) -> TimelineStep:
    return TimelineStep(
        **step_summary(step),
        child=step.child,
        tried=last_try(step),
        kind="wait" if step.waits == "callback" else "sleep" if step.waits == "time" else "step",
        told=tuple(_told(step)),
        href=href,
        elsewhere=None if step.job_run is None else _job_run(step.job_run, workspace),
    )


def _job_run(run: JobRunName, workspace: str | None) -> Link:
    """Return the link to a run's page in Databricks.

    It is the address that Databricks gave. Without that it is made of the workspace and the job, and if one of them is
    not known either, the link leads nowhere.
    """
    text = f"Databricks run {run.run_id}" if run.job_id is None else f"Databricks run {run.run_id} of job {run.job_id}"

    href = None

    # Any step may be named like the one that starts runs, and may have returned anything.
    if run.page_url is not None and is_web_page(run.page_url):
        href = run.page_url
    elif workspace is not None and run.job_id is not None:
        href = run_page(workspace, job_id=run.job_id, run_id=run.run_id)

    return Link(text=text, href=href or "")


def _told(step: StepView) -> Iterator[str]:
    """Yield what a wait asks, and how it ended."""
    if step.asked is not None:
        asked = step.asked
        yield f"asks {listed(asked.inquiry.people)}: “{one_line(asked.question.title, _MAX_TITLE)}”"

    if step.progress is not None:
        yield f"{step.progress} (at {to_the_second(utc(step.progress.at))})"

    yield from reminders_of(step)

    if (sentence := by_hand(step)) is not None:
        yield sentence
    elif (decision := decided(step)) is not None:
        yield f"{decision.decision} by {decision.by}"
    elif (how := ended_by(step)) is not None:
        yield how

    if step.outcome is not None and step.outcome.note is not None:
        yield step.outcome.note

    if (sentence := later_answer(step)) is not None:
        yield sentence


def ended_by(step: StepView) -> str | None:
    """Return who or what ended a wait, None while it is open."""
    return None if step.outcome is None else _ENDED_BY.get(step.outcome.by, step.outcome.by)


def decided(step: StepView) -> Decided | None:
    """Return what a person decided at this wait, or what an operator answered; None if it ended otherwise."""
    outcome = step.outcome

    if outcome is None or outcome.by not in {"approver", "operator"} or outcome.kind in CLOSED:
        return None

    kept = Decision.read(outcome)
    ended = step.ended_at or step.started_at
    first = step.asked is not None and outcome.kind == step.asked.question.decisions[0]

    return Decided(
        what=step.name,
        decision=past(outcome.kind),
        by=f"the operator {outcome.subject}, by hand" if outcome.by == "operator" else outcome.subject or "",
        at=rfc3339(ended) if kept is None else kept.at,
        comment="" if kept is None else kept.comment,
        reason=outcome.reason,
        digest=None if kept is None else kept.digest,
        tone="succeeded" if first else "failed" if outcome.kind == "reject" else "expired",
    )
