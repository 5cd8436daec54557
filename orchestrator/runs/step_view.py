"""The steps of a workflow as the API and the pages show them, read from the records of its call graph."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Self, cast

from orchestrator.callbacks.hand_reminders import read_reminders
from orchestrator.callbacks.later_answers import read_later
from orchestrator.callbacks.outcomes import read_settled
from orchestrator.callbacks.progress import read_progress
from orchestrator.callbacks.question import Asked
from orchestrator.durable.try_records import read_tries
from orchestrator.runs.call_graph import PAGE, name_of, walk
from orchestrator.runs.children import child_of
from orchestrator.stored_names import CALLBACK_TAG, CHILD_TAG, STEP_TAG

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from resonate.types import PromiseRecord, PromiseState

    from orchestrator.callbacks.hand_reminders import HandReminder
    from orchestrator.callbacks.outcomes import Outcome
    from orchestrator.callbacks.progress import Progress
    from orchestrator.durable.try_records import TryRecord
    from orchestrator.engine.promises import Promises
    from orchestrator.runs.root_ids import RootName
    from orchestrator.runs.roots import State

#: What a wait waits for: somebody's answer, or a moment.
type Waits = Literal["callback", "time"]

#: For how many steps of a page the failed tries or the progress are looked up, with a read or more each.
_LOOKS: Final = 50

#: The step that starts the run of a job (orchestrator/databricks/run_steps.py).
_TRIGGER: Final = "trigger_job"

_STATES: Final[Mapping[PromiseState, State]] = {
    "pending": "running",
    "resolved": "succeeded",
    "rejected": "failed",
    "rejected_canceled": "cancelled",
    "rejected_timedout": "expired",
}

#: The state of a callback's step by how the callback ended. A person's decision counts as a success.
_OUTCOME_STATES: Final[Mapping[str, State]] = {
    "failed": "failed",
    "died": "failed",
    "expired": "expired",
    "cancelled": "cancelled",
}


class JobRunName(NamedTuple):
    """Which run of which Databricks job; the job is None in records of an earlier release.

    `page_url` is what the record has as the address of the run's page, unchecked, None if it has none.
    """

    run_id: int
    job_id: int | None
    page_url: str | None = None


@dataclass(frozen=True, kw_only=True)
class StepView:
    """One step of a workflow; times are in milliseconds since the epoch, `ended_at` None while it is open.

    `asked` is what a wait asks people, and `outcome` how a wait ended; both are None for every other step. `child` is
    the sub-workflow that a step runs. `tries` are the last failed tries of a step that has not ended or has failed.
    `later` is an answer that came after the one that counts, where such are kept. `reminders` are the last ones that
    operators asked for by hand.
    `until` is when a wait or a sleep ends at the latest, None for every other step; `waits` is what it waits for.
    `job_run` is the run of a Databricks job that a step has started.
    `progress` is what the work behind a wait has last said of itself, None if it never did or has succeeded.
    """

    id: str
    name: str
    state: State
    started_at: int
    ended_at: int | None
    asked: Asked | None = None
    outcome: Outcome | None = None
    child: RootName | None = None
    tries: Sequence[TryRecord] = ()
    reminders: Sequence[HandReminder] = ()
    waits: Waits | None = None
    until: int | None = None
    job_run: JobRunName | None = None
    later: Outcome | None = None
    progress: Progress | None = None

    @classmethod
    def read(cls, record: PromiseRecord, *, child: RootName | None = None) -> Self:
        """Return the step of this record, which runs this sub-workflow."""
        callback = record.tags.get(CALLBACK_TAG)
        settled = None if callback is None else read_settled(record, callback=callback)
        outcome = None if settled is None else settled.outcome
        waits = _waits_for(record)

        return cls(
            id=record.id,
            name=name_of(record),
            state=_state_of(record) if outcome is None else _OUTCOME_STATES.get(outcome.kind, "succeeded"),
            started_at=record.created_at,
            ended_at=record.settled_at,
            asked=Asked.read(record),
            outcome=outcome,
            child=child,
            waits=waits,
            until=None if waits is None else record.timeout_at,
            job_run=_job_run_of(record),
        )


def _waits_for(record: PromiseRecord) -> Waits | None:
    if CALLBACK_TAG in record.tags:
        return "callback"

    return "time" if record.tags.get("resonate:timer") == "true" else None


def _job_run_of(record: PromiseRecord) -> JobRunName | None:
    if record.state != "resolved" or record.tags.get(STEP_TAG) != _TRIGGER:
        return None

    match record.value.data:
        case {"run_id": int(run_id), **rest}:
            job_id, page = rest.get("job_id"), rest.get("page")

            return JobRunName(
                run_id, job_id if isinstance(job_id, int) else None, page if isinstance(page, str) else None
            )
        case _:
            return None


def _may_have_failed(record: PromiseRecord) -> bool:
    """Return whether this is a step of an author that is not known to have succeeded."""
    is_open = record.state in {"pending", "rejected"}

    return is_open and _waits_for(record) is None and CHILD_TAG not in record.tags


def _may_progress(step: StepView) -> bool:
    """Return whether this is a wait for a machine that has not succeeded."""
    return step.waits == "callback" and step.asked is None and step.state != "succeeded"


def _state_of(record: PromiseRecord) -> State:
    """Return the state of a step that is no wait. One that failed because something was cancelled is cancelled."""
    failure = record.value.data

    match failure:
        case {"ours": "cancelled" | "expired" as ended} if record.state == "rejected":
            return cast("State", ended)
        case _:
            return _STATES[record.state]


async def view_steps(promises: Promises, root_id: str, *, after: str | None = None) -> tuple[Sequence[StepView], bool]:
    """Return a page of the steps below this root, those that come `after` one of them, and whether there are more.

    Raises:
        ValueError: `after` is not a step of this root.
        EngineUnavailable: as for any read.
    """
    steps: list[StepView] = []
    looks = _LOOKS
    root: PromiseRecord | None = None

    async for record in walk(promises, root_id, after=after):
        if len(steps) == PAGE:
            return steps, True

        if CHILD_TAG in record.tags and root is None:
            root = await promises.get(root_id)

        step = StepView.read(record, child=None if root is None else child_of(root, record))

        if looks and _may_have_failed(record):
            looks -= 1
            step = replace(step, tries=await read_tries(promises, record))
        elif looks and _may_progress(step):
            looks -= 1
            step = replace(step, progress=await read_progress(promises, record))
        elif looks and step.asked is not None:
            looks -= 1
            step = replace(step, reminders=await read_reminders(promises, record))

        if looks and step.outcome is not None and (later := await read_later(promises, record)) is not None:
            looks -= 1
            step = replace(step, later=later)

        steps.append(step)

    return steps, False
