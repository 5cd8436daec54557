"""One run of a Databricks job and the output of a task, as the Jobs API shows them, and the calls that get them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from orchestrator.errors import StepRefused

if TYPE_CHECKING:
    from collections.abc import Mapping


class RunGone(StepRefused):
    """Databricks knows no such run: it was deleted, is older than Databricks keeps runs, or is another workspace's."""

    def __init__(self, run_id: int) -> None:
        super().__init__(f"Databricks has no run {run_id}")
        self.run_id = run_id

    def __reduce__(self) -> tuple[object, ...]:
        return (RunGone, (self.run_id,))


class JobRefused(StepRefused):
    """Databricks will not run a job. `page_url` is the address of the job's page."""

    def __init__(self, reason: str, page_url: str) -> None:
        super().__init__(reason)
        self.page_url = page_url

    def __reduce__(self) -> tuple[object, ...]:
        return (JobRefused, (str(self), self.page_url))


@dataclass(frozen=True, kw_only=True)
class TaskRun:
    """The latest attempt of a task of a run. Times are in milliseconds since the epoch.

    `is_notebook` says whether its work is a notebook, which alone can have an exit value.
    """

    key: str
    run_id: int
    life_cycle_state: str
    result_state: str | None
    is_notebook: bool
    end_time: int


@dataclass(frozen=True, kw_only=True)
class JobRun:
    """One run as the Jobs API describes it.

    `over` says that it has ended, and will not change again unless somebody repairs it. `result_state` says how, and
    `code` why, if the API says so. `message` has at most 500 characters and no addresses, tokens or parameter values.
    `parameters` are the run's job parameters: the callback address is among them, so they stay out of the repr and must
    not be returned from a step.
    """

    run_id: int
    job_id: int
    over: bool
    life_cycle_state: str
    result_state: str | None
    message: str
    page_url: str | None
    parameters: Mapping[str, str] = field(repr=False)
    code: str | None = None
    tasks: tuple[TaskRun, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RunOutput:
    """What a task's run has left. `exit_value` is what its notebook gave to `dbutils.notebook.exit`, None for nothing.

    `truncated` says that the exit value is longer, and `error` is the text of the exception that ended the run, if any.
    Both may hold anything.
    """

    exit_value: str | None = field(repr=False)
    truncated: bool
    error: str | None = field(repr=False)


class JobsApi(Protocol):
    """The calls that the library makes. Each blocks, and raises only `StepRefused` or `StepUnavailable`."""

    def run_now(self, job_id: int, idempotency_token: str, parameters: Mapping[str, str]) -> int:
        """Return the id of the run this token stands for, starting it if there is none yet."""

    def get_run(self, run_id: int) -> JobRun | None:
        """Return the run as it is now, or None if there is none."""

    def get_output(self, run_id: int) -> RunOutput | None:
        """Return the output of the run of a task, or None if there is no such run."""

    def cancel_run(self, run_id: int) -> None:
        """Ask Databricks to cancel the run. One that is over or gone is not an error."""


def idempotency_token(promise_id: str, opened_at: int | None = None) -> str:
    """Return the idempotency token of the run that this wait is for: SHA-256 as 64 hex digits.

    It is the hash of `PROMISE_ID OPENED_AT`, with one space and the milliseconds of the wait's `Address`, or of the
    promise id alone for a wait that has no such moment. Databricks accepts at most 64 characters. One wait has one
    token and one run, whatever state that run is in. So an id that is used again after its data are gone gets a run of
    its own, and a restored backup finds the run it had.

    The moment came into the token and into the records of waits with the same change (`opened_at.MARK`). So a wait
    without a mark was opened before it, and keeps the token that found its run then.
    """
    text = promise_id if opened_at is None else f"{promise_id} {opened_at}"

    return hashlib.sha256(text.encode()).hexdigest()


def job_subject(job_id: int) -> str:
    """Return the subject of a callback token that a run of this job may use."""
    return f"job {job_id}"
