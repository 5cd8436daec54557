"""A Databricks Jobs API in the process of a test: the emulator's workspace behind the port that steps use.

Every job exists, and its runs go on until the test ends them. The test is the job: `succeed`, `fail` and `die` only end
a run, as the Jobs API shows it. A job's callback is answered like any other wait.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from orchestrator.databricks.reading import read_output, read_run
from orchestrator.errors import StepRefused, StepUnavailable
from orchestrator.testing.emulator.workspace import ApiError, Job, Run, Task, Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchestrator.databricks.run import JobRun, RunOutput
    from orchestrator.testing.emulator.definitions import Webhook

_LATER = frozenset({429, 500, 502, 503, 504})


class TrialJobs:
    """The jobs of a trial. `workspace` has more to break: jobs with declared parameters, faults, states of a run."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.workspace = Workspace({}, url="https://databricks.invalid", clock=clock, send=_not_sent)
        self.outputs: dict[int, object] = {}

    @property
    def runs(self) -> list[Run]:
        """All runs, in the order in which they were triggered."""
        return self.workspace.runs()

    def tasks(self, job_id: int, **tasks: Task) -> None:
        """Give a job these tasks, each after those that it depends on. A task's fate is "hold" where none is named."""
        self.workspace.add_job(job_id, Job(tasks=tasks))

    def succeed(self, run_id: int, output: object = None, *, task: str | None = None) -> None:
        """End a run, or one of its tasks, well, with what its notebook gave to `dbutils.notebook.exit`.

        An output that is no text is given as JSON, and None means that the notebook gave nothing. The run does not call
        back.
        """
        given = output if isinstance(output, str) or output is None else json.dumps(output)
        self.workspace.move(self._open(run_id, task), "TERMINATED", "SUCCESS", output=given)
        self.outputs[run_id] = output

    def fail(self, run_id: int, error: str = "RuntimeError: it failed", *, task: str | None = None) -> None:
        """End a run, or one of its tasks, as one whose notebook raised this error. It does not call back."""
        self.workspace.move(
            self._open(run_id, task), "TERMINATED", "FAILED", "Workload failed, see run output for details", error=error
        )

    def die(self, run_id: int, message: str = "The cluster was lost", *, task: str | None = None) -> None:
        """End a run, or one of its tasks, as one whose cluster was lost. It does not call back."""
        self.workspace.move(self._open(run_id, task), "INTERNAL_ERROR", "FAILED", message)

    def skip(self, run_id: int) -> None:
        """End a run as one that was skipped because the job had reached its limit of concurrent runs."""
        reached = "MAXIMUM_CONCURRENT_RUNS_REACHED"
        self.workspace.move(self._open(run_id, None), "SKIPPED", reached, "A previous run of the job was active")

    def repair(self, run_id: int) -> None:
        """Run the failed tasks of a run that is over again, as somebody does by hand; then end it once more.

        Raises:
            ValueError: the run goes on, or no task of it failed.
        """
        run = self._known(run_id)
        latest = {"latest_repair_id": run.repairs[-1].run_id} if run.repairs else {}

        try:
            self.workspace.repair({"run_id": run_id, "rerun_all_failed_tasks": True, **latest})
        except ApiError as error:
            raise ValueError(str(error)) from None

    def _open(self, run_id: int, task: str | None) -> int:
        """Return the id of the run, or of its task's latest attempt, which is not over."""
        run = self._known(run_id)
        latest = run.latest()

        if task is not None and task not in latest:
            raise LookupError(f"the run {run_id} has no task {task}; there are: {', '.join(latest)}")

        chosen = run if task is None else latest[task]

        if chosen.over:
            raise ValueError(f"the run {run_id} is over: {chosen.life_cycle_state}")

        return chosen.run_id

    def _known(self, run_id: int) -> Run:
        known = {run.run_id: run for run in self.runs}

        if run_id not in known:
            raise LookupError(f"there is no run {run_id}; there are: {', '.join(map(str, known)) or 'none'}")

        return known[run_id]

    # The port

    def run_now(self, job_id: int, idempotency_token: str, parameters: Mapping[str, str]) -> int:
        """Return the id of the run this token stands for, starting it if there is none yet."""
        if not self.workspace.has_job(job_id):
            self.workspace.add_job(job_id, Job(fate="hold"))

        body = {"job_id": job_id, "idempotency_token": idempotency_token, "job_parameters": dict(parameters)}
        run_id: int = self._ask("run-now", lambda: self.workspace.run_now(body))["run_id"]

        return run_id

    def get_run(self, run_id: int) -> JobRun | None:
        """Return the run as it is now, or None if there is none."""
        if all(run.run_id != run_id or run.deleted for run in self.runs):
            return None

        return read_run(run_id, self._ask("runs/get", lambda: self.workspace.get(run_id)))

    def get_output(self, run_id: int) -> RunOutput | None:
        """Return the output of the run of a task, or None if there is no such run."""
        if all(one.run_id != run_id for run in self.runs if not run.deleted for one in (run, *run.all_task_runs())):
            return None

        return read_output(self._ask("runs/get-output", lambda: self.workspace.get_output(run_id)))

    def cancel_run(self, run_id: int) -> None:
        """Cancel the run. One that is over or gone is not an error."""
        if any(run.run_id == run_id and not run.deleted for run in self.runs):
            self._ask("runs/cancel", lambda: self.workspace.cancel({"run_id": run_id}))

    def _ask(self, path: str, act: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        fault = self.workspace.fault(path)

        if fault is not None and fault.kind == "refused":
            raise StepUnavailable("Databricks could not be reached")

        try:
            if fault is not None and fault.kind == "status":
                raise ApiError(fault.status, fault.error_code, fault.message, fault.retry_after)  # noqa: TRY301

            answer = act()
        except ApiError as error:
            if error.status in _LATER:
                raise StepUnavailable("Databricks failed", retry_after=fault.retry_after if fault else None) from error

            raise StepRefused(f"Databricks refused: {error}") from error

        if fault is not None and fault.kind in {"lost", "garbage"}:
            raise StepUnavailable("Databricks sent no response that can be read")

        return answer


def _not_sent(_webhook: Webhook, _body: dict[str, Any]) -> None:
    """A trial has no network: what a job notifies is in `workspace.notifications`."""
