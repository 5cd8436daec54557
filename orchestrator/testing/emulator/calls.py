"""The calls of the Jobs API that a workspace answers, without HTTP.

It is as strict as Databricks where the behaviour of Databricks is known, and refuses what it does not know.
"""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any, Final

from orchestrator.testing.emulator.answers import Answers
from orchestrator.testing.emulator.attempts import new_id
from orchestrator.testing.emulator.execution import Around, Execution
from orchestrator.testing.emulator.listing import cut_arrays, select_runs
from orchestrator.testing.emulator.notebooks import Notebooks
from orchestrator.testing.emulator.records import Run, TaskRun
from orchestrator.testing.emulator.refusals import ApiError, flag, invalid, number, only

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchestrator.testing.emulator.definitions import Job

#: Databricks removes a run after this many days.
_KEPT_MS: Final = 60 * 86_400_000

#: The longest idempotency token, and how many bytes of JSON the parameters of a run may have.
_LONGEST_TOKEN: Final = 64
_MOST_PARAMETERS: Final = 10_000

_NO_OUTPUT: Final = (
    "Retrieving the output of runs with multiple tasks is not supported. Please retrieve the output of each individual "
    "task run instead."
)


class Calls:
    """Jobs and their runs, and the calls that act on them. Every method may be called from any thread."""

    def __init__(self, jobs: Mapping[int, Job], *, url: str, startup: float, clock: Callable[[], float]) -> None:
        self.url = url
        self._jobs = dict(jobs)
        self._runs: dict[int, Run] = {}
        self._clock = clock
        self._answers = Answers(url)
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._notebooks = Notebooks(self._lock, startup)
        self._execution = Execution(
            self._jobs, self._runs, self._notebooks, Around(self._now, self._notify, self._record)
        )

    def run_now(self, body: dict[str, Any]) -> dict[str, Any]:
        """Answer run-now: the run of this token, or a new one."""
        only(body, "job_id", "idempotency_token", "job_parameters")
        job_id, parameters = number(body, "job_id"), _parameters(body)
        token = body.get("idempotency_token")

        if token is not None and (not isinstance(token, str) or len(token) > _LONGEST_TOKEN):
            raise invalid("idempotency_token must have at most 64 characters.")

        with self._lock:
            job = self._permitted(job_id)

            # As documented: the run of this token is returned whatever its state is, and a deleted run is an error. An
            # empty token counts as no token.
            for run in self._runs.values():
                if token and run.idempotency_token == token:
                    if run.deleted:
                        raise invalid("The run with this idempotency_token has been deleted.")

                    return {"run_id": run.run_id, "number_in_job": run.run_id}

            defaults = _declared(job_id, job, parameters)
            run = Run(
                run_id=new_id(),
                job_id=job_id,
                idempotency_token=token,
                parameters=defaults | parameters,
                defaults={} if job.parameters is None else defaults,
                start_time=self._now(),
            )
            self._execution.begin(run)

            return {"run_id": run.run_id, "number_in_job": run.run_id}

    def get(self, run_id: int, *, include_history: bool = False, page_token: object = None) -> dict[str, Any]:
        """Answer runs/get, for a run or for the run of a task, with the old `state` and the newer `status`."""
        with self._lock:
            run, one = self._found(run_id)
            job = self._execution.settings(run)

            if one is not None:
                return self._answers.task_as_run(run, one, self._execution.task(run, one))

            return cut_arrays(self._answers.run(run, job, history=include_history), page_token)

    def list(self, query: Mapping[str, object]) -> dict[str, Any]:
        """Answer runs/list: a page of runs, the newest first."""
        known = ("active_only", "completed_only", "expand_tasks", "job_id", "limit", "page_token", "run_type")
        only(query, *known, "start_time_from", "start_time_to")

        with self._lock:
            self._execution.retry_due()
            kept = [run for run in self._runs.values() if not self._is_gone(run)]
            runs, tokens = select_runs(kept, query)
            expand = flag(query, "expand_tasks")
            shown = [self._answers.run(run, self._execution.settings(run), tasks=expand) for run in runs]

            return ({"runs": shown} if shown else {}) | tokens

    def get_output(self, run_id: int) -> dict[str, Any]:
        """Answer runs/get-output, for the run of a task. A job's run has tasks, be it one, and so no output."""
        with self._lock:
            run, one = self._found(run_id)

            if one is None or one.iterations:
                raise invalid(_NO_OUTPUT)

            return self._answers.output(run, one, self._execution.task(run, one))

    def cancel(self, body: dict[str, Any]) -> dict[str, Any]:
        """Cancel a run. A run that is over does not change; that is not an error."""
        only(body, "run_id")

        with self._lock:
            run = self._run(number(body, "run_id"))

            if run.over:
                run.cancel_asked = True
            else:
                self._execution.cancel(run)

            return {}

    def delete(self, body: dict[str, Any]) -> dict[str, Any]:
        """Answer runs/delete, for a run that is over."""
        only(body, "run_id")

        with self._lock:
            run = self._run(number(body, "run_id"))

            if not run.over:
                raise ApiError(400, "INVALID_STATE", f"Run {run.run_id} is active and cannot be deleted.")

            run.deleted = True
            self._record()

            return {}

    def repair(self, body: dict[str, Any]) -> dict[str, Any]:
        """Answer runs/repair: run tasks of a run that is over again, in the same run."""
        known = ("rerun_tasks", "rerun_all_failed_tasks", "rerun_dependent_tasks", "latest_repair_id", "job_parameters")
        only(body, "run_id", *known)

        with self._lock:
            run = self._run(number(body, "run_id"))
            self._permitted(run.job_id)
            last = run.repairs[-1].run_id if run.repairs else None

            if not run.over:
                raise invalid(f"Run {run.run_id} is still active and cannot be repaired.")

            if body.get("latest_repair_id") != last:
                raise invalid(f"latest_repair_id must be {last}, the id of the latest repair of run {run.run_id}.")

            keys = self._to_rerun(run, body)
            run.parameters |= _parameters(body)

            return {"repair_id": self._execution.repair(run, keys)}

    def _to_rerun(self, run: Run, body: Mapping[str, Any]) -> set[str]:
        tasks = self._permitted(run.job_id).all_tasks
        named, every_failed = body.get("rerun_tasks"), flag(body, "rerun_all_failed_tasks")

        if (named is None) == (not every_failed):
            raise invalid("Exactly one of rerun_tasks and rerun_all_failed_tasks must be given.")

        keys = self._execution.unsuccessful(run) if named is None else set(named)

        if unknown := sorted(keys - set(tasks)):
            raise invalid(f"The tasks {unknown} are not in job {run.job_id}.")

        if not keys:
            raise invalid(f"Run {run.run_id} has no task to repair.")

        if flag(body, "rerun_dependent_tasks"):
            for key, task in tasks.items():
                keys |= {key} if keys & set(task.depends_on) else set()

        return keys

    def _permitted(self, job_id: int) -> Job:
        job = self._jobs.get(job_id)

        if job is None:
            raise invalid(f"Job {job_id} does not exist.")

        if not job.permitted:
            message = f"User emulator@example.com does not have Manage Run or Owner permissions on job {job_id}"
            raise ApiError(403, "PERMISSION_DENIED", message)

        return job

    def _found(self, run_id: int) -> tuple[Run, TaskRun | None]:
        self._execution.retry_due()
        run = self._runs.get(run_id)
        one = None

        if run is None:
            for each in self._runs.values():
                one = one or next((task for task in each.all_task_runs() if task.run_id == run_id), None)
                run = each if one is not None and run is None else run

        if run is None or self._is_gone(run):
            raise invalid(f"Run {run_id} does not exist.")

        return run, one

    def _run(self, run_id: int) -> Run:
        run, one = self._found(run_id)

        if one is not None:
            raise invalid(f"Run {run_id} does not exist.")

        return run

    def _is_gone(self, run: Run) -> bool:
        return run.deleted or (run.over and self._now() - run.end_time > _KEPT_MS)

    def _now(self) -> int:
        return int(self._clock() * 1000)

    def _notify(self, event: str, run: Run) -> None:
        raise NotImplementedError

    def _record(self) -> None:
        raise NotImplementedError


def _parameters(body: Mapping[str, Any]) -> dict[str, str]:
    parameters = body.get("job_parameters", {})

    if not isinstance(parameters, dict) or not all(isinstance(value, str) for value in parameters.values()):
        raise ApiError(400, "MALFORMED_REQUEST", "Could not parse request object: job_parameters: expected strings")

    if len(json.dumps(parameters, ensure_ascii=False).encode()) > _MOST_PARAMETERS:
        raise invalid(f"The parameters of a run cannot have more than {_MOST_PARAMETERS} bytes of JSON.")

    return parameters


def _declared(job_id: int, job: Job, parameters: Mapping[str, str]) -> dict[str, str]:
    defaults = dict(parameters if job.parameters is None else job.parameters)

    if unknown := sorted(set(parameters) - set(defaults)):
        raise invalid(f"Job parameters {unknown} are not defined in the settings of job {job_id}.")

    return defaults
