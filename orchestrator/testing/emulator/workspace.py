"""The emulator's workspace: jobs, runs and faults, without HTTP, and what a test or its author does with them."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from orchestrator.testing.emulator.calls import Calls
from orchestrator.testing.emulator.definitions import Fate, Job, Task, Webhook
from orchestrator.testing.emulator.faults import Fault, Faults
from orchestrator.testing.emulator.notifications import notification, send
from orchestrator.testing.emulator.records import OVER, Run, TaskRun, read_run
from orchestrator.testing.emulator.refusals import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping
    from pathlib import Path

#: What a test needs of the room.
__all__ = ["OVER", "ApiError", "Fate", "Fault", "Job", "Run", "Task", "TaskRun", "Webhook", "Workspace"]


class Workspace(Calls):
    """The jobs, their runs and the requests so far: everything but HTTP. Every method may be called from any thread.

    `notifications` has the bodies of all notifications; `send` sends those of jobs with a webhook.
    """

    def __init__(  # noqa: PLR0913 - each with a default that is right for a test
        self,
        jobs: Mapping[int, Job],
        *,
        startup: float = 0.0,
        state: Path | None = None,
        url: str = "",
        clock: Callable[[], float] = time.time,
        send: Callable[[Webhook, dict[str, Any]], None] = send,
    ) -> None:
        super().__init__(jobs, url=url, startup=startup, clock=clock)
        self.requests: list[dict[str, Any]] = []
        self.notifications: list[dict[str, Any]] = []
        self._state = state
        self._send = send
        self._faults = Faults()
        self._load()

    def add_job(self, job_id: int, job: Job) -> None:
        """Add a job, or change one for its later runs and repairs."""
        with self._lock:
            self._jobs[job_id] = job

    def remove_job(self, job_id: int) -> None:
        """Delete a job. Its runs stay."""
        with self._lock:
            del self._jobs[job_id]

    def has_job(self, job_id: int) -> bool:
        """Return whether the workspace has this job."""
        return job_id in self._jobs

    def fail_next(self, fault: Fault) -> None:
        """Make the next matching requests go wrong. Several faults happen one after another."""
        self._faults.add(fault)

    def heal(self) -> None:
        """Remove every fault that has not happened yet."""
        self._faults.clear()

    def fault(self, path: str) -> Fault | None:
        """Return the fault for this request, if there is one, and count it as used."""
        return self._faults.take(path)

    def runs(self) -> list[Run]:
        """Return all runs in order of creation, deleted ones included."""
        with self._lock:
            return list(self._runs.values())

    def runs_created(self, token: str | None = None) -> int:
        """Return how many runs were created in total or with this idempotency token, deleted ones included."""
        return sum(token is None or run.idempotency_token == token for run in self.runs())

    def cancels(self, run_id: int) -> int:
        """Return how many requests asked to cancel this run."""
        return sum(each["path"] == "runs/cancel" and each.get("run_id") == run_id for each in list(self.requests))

    def move(  # noqa: PLR0913 - the parts of a state, and what a run leaves
        self,
        run_id: int,
        life_cycle_state: str,
        result_state: str | None = None,
        message: str = "",
        *,
        output: str | None = None,
        error: str | None = None,
    ) -> None:
        """Put a run, or the run of a task, into any state, even one that Databricks does not have.

        `output` is what its notebook gives to `dbutils.notebook.exit`, and `error` why it failed; for a job's run, they
        are those of its last task.
        """
        with self._lock:
            run, one = self._found(run_id)
            left = one or run.tasks[-1]
            left.result = left.result if output is None else output
            left.error = left.error if error is None else error

            if one is None:
                self._execution.put_run(run, life_cycle_state, result_state, message)
            else:
                self._execution.put_task(run, one, life_cycle_state, result_state, message)

    def task_run(self, run_id: int, task_key: str) -> TaskRun:
        """Return the latest attempt of a task of this run.

        Raises:
            LookupError: the run has no such task.
        """
        with self._lock:
            return self._runs[run_id].latest()[task_key]

    def wait_over(self, run_id: int, timeout: float = 30.0) -> Run:
        """Return the run once it is over; raise TimeoutError after `timeout` seconds."""
        return self.wait_until(run_id, OVER, timeout)

    def wait_until(self, run_id: int, states: Container[str], timeout: float = 30.0) -> Run:
        """Return the run once it is in one of these states; raise TimeoutError after `timeout` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._runs[run_id].life_cycle_state in states, timeout):
                raise TimeoutError(f"run {run_id} is {self._runs[run_id].life_cycle_state}")

            return self._runs[run_id]

    def stop(self) -> None:
        """Kill every notebook that still runs, and start no more."""
        self._notebooks.stop()

    def describe(self) -> dict[str, Any]:
        """Return the whole state as a JSON object."""
        with self._lock:
            tokens = [run.idempotency_token for run in self._runs.values()]
            asked = [each.get("idempotency_token") for each in self.requests if each["path"] == "run-now"]
            cancelled = [each.get("run_id") for each in self.requests if each["path"] == "runs/cancel"]
            return {
                "runs": [
                    asdict(run) | {"pid": run.pid, "exit_code": run.exit_code, "output": run.output}
                    for run in self._runs.values()
                ],
                "requests": list(self.requests),
                "notifications": list(self.notifications),
                "runs_created": Counter(map(str, tokens)),
                "runs_asked_for": Counter(map(str, asked)),
                "cancels": Counter(map(str, cancelled)),
            }

    def _notify(self, event: str, run: Run) -> None:
        job = self._execution.settings(run)
        body = notification(event, run, job)
        self.notifications.append(body)

        if job.webhook is not None:
            self._send(job.webhook, body)

    def _record(self) -> None:
        self._changed.notify_all()

        if self._state is not None:
            fresh = self._state.with_suffix(".new")
            fresh.write_text(json.dumps([asdict(run) for run in self._runs.values()]))
            fresh.replace(self._state)

    def _load(self) -> None:
        if self._state is None or not self._state.exists():
            return

        for each in json.loads(self._state.read_text()):
            run = read_run(each)
            self._runs[run.run_id] = run
            job = self._jobs.get(run.job_id)

            if not run.over and (job is None or any(task.fate == "notebook" for task in job.all_tasks.values())):
                self.move(run.run_id, "INTERNAL_ERROR", "FAILED", "The emulator was restarted")
