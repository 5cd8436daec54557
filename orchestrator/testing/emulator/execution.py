"""How the runs of a workspace go on: tasks begin, end, are tried again, and end their run.

Every method is called with the workspace's lock.

Long because tasks, their attempts and their run are one state machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orchestrator.testing.emulator.attempts import (
    as_repair,
    attempt_of_start,
    blocked,
    has_failed,
    may_begin,
    new_id,
    pending,
)
from orchestrator.testing.emulator.definitions import SCRIPTED, Job, Task
from orchestrator.testing.emulator.graph import instead_of_running, result_of
from orchestrator.testing.emulator.notifications import event_of
from orchestrator.testing.emulator.records import Repair, Run, TaskRun

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from orchestrator.testing.emulator.notebooks import Notebooks
    from orchestrator.testing.emulator.records import Record

_UNSUCCESSFUL: Final = frozenset({"FAILED", "TIMEDOUT", "CANCELED", "UPSTREAM_FAILED", "UPSTREAM_CANCELED"})


@dataclass(frozen=True)
class Around:
    """What a workspace does for its runs: tell the time in milliseconds, send a notification, record a change."""

    now: Callable[[], int]
    notify: Callable[[str, Run], None]
    record: Callable[[], None]


class Execution:
    """The runs of a workspace while they go on. `jobs` has the settings, and `runs` every run, by id."""

    def __init__(self, jobs: Mapping[int, Job], runs: dict[int, Run], notebooks: Notebooks, around: Around) -> None:
        self._jobs = jobs
        self._runs = runs
        self._notebooks = notebooks
        self._around = around
        #: The settings that a run was started with. A repair takes the present ones.
        self._settings: dict[int, Job] = {}

    def settings(self, run: Run) -> Job:
        """Return the settings that this run has."""
        return self._settings.get(run.run_id) or self._jobs.get(run.job_id) or Job(fate="hold")

    def begin(self, run: Run) -> None:
        """Begin a new run, or queue or skip it if the job has reached its limit."""
        job = self._settings[run.run_id] = self._jobs[run.job_id]
        run.tasks = [blocked(key) if task.depends_on else pending(key) for key, task in job.all_tasks.items()]
        limit, active = job.max_concurrent_runs, self._active(run.job_id)
        self._runs[run.run_id] = run

        if limit is None or active < limit:
            self._start(run)
        elif job.queue:
            self._put(run, "QUEUED", None, "")
        else:
            self.put_run(run, *SCRIPTED["skipped"])

    def put_run(self, run: Run, life_cycle_state: str, result_state: str | None = None, message: str = "") -> None:
        """Put a run into a state. What is still open of a run that is over ends with it."""
        self._put(run, life_cycle_state, result_state, message)
        alone = run.latest().values() if len(run.latest()) == 1 else ()

        for task in [*alone, *(one for one in run.all_task_runs() if run.over and not one.over)]:
            task.begun = True
            self._put(task, life_cycle_state, result_state, message)

        if run.over:
            self._run_over(run)

    def put_task(
        self, run: Run, one: TaskRun, life_cycle_state: str, result_state: str | None = None, message: str = ""
    ) -> None:
        """Put a task's run into a state, and go on with its run from there."""
        one.begun = True
        self._put(one, life_cycle_state, result_state, message)

        if one.input is not None:
            self._iteration_over(run, next(task for task in run.tasks if one in task.iterations))
        elif one.over:
            self._task_over(run, one)

        self._go_on(run)

    def cancel(self, run: Run) -> None:
        """Cancel what is open of a run. Notebooks are given a moment, so the run may be TERMINATING for a while."""
        run.cancel_asked = True

        for one in [each for each in run.all_task_runs() if not each.over]:
            if self._notebooks.terminate(one.run_id):
                one.life_cycle_state = run.life_cycle_state = "TERMINATING"
            elif one.life_cycle_state == "BLOCKED" and not one.begun:
                self._put(one, "SKIPPED", "UPSTREAM_CANCELED", "An upstream task was canceled.")
            else:
                self._put(one, "TERMINATED", "CANCELED", "Run cancelled.")

            one.begun = True

        if all(task.over for task in run.latest().values()):
            self.put_run(run, "TERMINATED", "CANCELED", "Run cancelled.")

    def repair(self, run: Run, keys: Collection[str]) -> int:
        """Run these tasks of a run that is over again; return the id of the repair."""
        if not run.repairs:
            run.repairs.append(as_repair(run, [one.run_id for one in run.tasks]))

        self._settings[run.run_id] = self._jobs[run.job_id]
        latest = run.latest()
        fresh = []

        for key, task in self.settings(run).all_tasks.items():
            if key in keys:
                attempt = latest[key].attempt_number + 1 if key in latest else 0
                fresh.append((blocked if task.depends_on else pending)(key, attempt))

        run.tasks += fresh
        repair = Repair(run_id=new_id(), start_time=self._around.now(), task_run_ids=[one.run_id for one in fresh])
        run.repairs.append(repair)
        run.cancel_asked = False
        self._put(run, "PENDING", None, "")
        self._start(run)

        return repair.run_id

    def retry_due(self) -> None:
        """Start every attempt whose pause is over by now."""
        for run in list(self._runs.values()):
            for one in run.tasks:
                if one.life_cycle_state == "WAITING_FOR_RETRY" and not one.begun and one.due_at <= self._around.now():
                    one.life_cycle_state = "PENDING"
                    self._go_on(run)

    def unsuccessful(self, run: Run) -> set[str]:
        """Return the tasks of a run that did not succeed, or were skipped because of one that did not."""
        return {key for key, one in run.latest().items() if one.result_state in _UNSUCCESSFUL}

    def _active(self, job_id: int) -> int:
        active = [run for run in self._runs.values() if not run.over and run.life_cycle_state != "QUEUED"]
        return sum(run.job_id == job_id for run in active)

    def _start(self, run: Run) -> None:
        run.life_cycle_state = "PENDING"
        self._around.notify("jobs.on_start", run)
        self._go_on(run)

    def _go_on(self, run: Run) -> None:
        """Begin what can begin, and end the run if nothing is left."""
        tasks = self.settings(run).all_tasks

        for key, task in tasks.items():
            one = run.latest().get(key)
            upstream = [run.latest()[other] for other in task.depends_on if other in run.latest()]

            if one is not None and may_begin(one) and all(other.over for other in upstream):
                self._begin_task(run, one, task, [str(other.result_state) for other in upstream])

        if not run.over:
            self._follow_tasks(run, tasks)

    def _begin_task(self, run: Run, one: TaskRun, task: Task, upstream: list[str]) -> None:
        one.begun = True
        one.start_time = self._around.now()

        if instead := instead_of_running(task.run_if, upstream):
            why = (
                "The condition of the task was not met."
                if instead == "EXCLUDED"
                else "An upstream task did not succeed."
            )
            self._put(one, "SKIPPED", instead, why)
        elif task.for_each is not None:
            self._put(one, "RUNNING", None, "In run")
            one.iterations = [pending(f"{one.task_key}_iteration", given=given) for given in task.for_each]

            for iteration in one.iterations:
                self._follow_fate(run, iteration, task, one.attempt_number)

            self._iteration_over(run, one)
        else:
            self._follow_fate(run, one, task, one.attempt_number)

    def _follow_fate(self, run: Run, one: TaskRun, task: Task, attempt: int) -> None:
        fate = task.fate_of(attempt)
        one.begun = True
        one.start_time = self._around.now()

        if fate == "notebook":
            given = run.parameters if one.input is None else {**run.parameters, "input": one.input}
            self._notebooks.run(
                one,
                self.settings(run),
                given,
                lambda: self._notebook_began(run, one),
                lambda: self._notebook_ended(run, one),
            )
            return

        life_cycle_state, result_state, message = SCRIPTED[fate]
        one.logs = task.logs
        one.result = task.output if result_state == "SUCCESS" else None
        one.error = None if result_state in {None, "SUCCESS"} else task.error or message
        self.put_task(run, one, life_cycle_state, result_state, message)

    def _notebook_began(self, run: Run, one: TaskRun) -> bool:
        if one.life_cycle_state != "PENDING":
            return False

        self.put_task(run, one, "RUNNING", None, "In run")
        return True

    def _notebook_ended(self, run: Run, one: TaskRun) -> None:
        if one.over:
            return

        if run.cancel_asked:
            self.put_task(run, one, "TERMINATED", "CANCELED", "Run cancelled.")
        elif one.exit_code == 0:
            self.put_task(run, one, "TERMINATED", "SUCCESS")
        else:
            self.put_task(run, one, *SCRIPTED["fails"])

    def _iteration_over(self, run: Run, parent: TaskRun) -> None:
        if parent.over or not all(one.over for one in parent.iterations):
            return

        failed = sum(one.result_state != "SUCCESS" for one in parent.iterations)

        if failed:
            parent.error = f"{failed} of {len(parent.iterations)} iterations did not succeed"
            self._put(parent, "TERMINATED", "FAILED", parent.error)
        else:
            self._put(parent, "TERMINATED", "SUCCESS", "")

        self._task_over(run, parent)

    def _task_over(self, run: Run, one: TaskRun) -> None:
        task = self.task(run, one)
        left = task.max_retries < 0 or attempt_of_start(run, one) < task.max_retries

        if left and not run.cancel_asked and has_failed(one) and run.latest()[one.task_key] is one:
            again = pending(one.task_key, one.attempt_number + 1)
            again.due_at = self._around.now() + task.min_retry_interval_millis

            if task.min_retry_interval_millis:
                again.life_cycle_state, again.message = "WAITING_FOR_RETRY", "Waiting for a retry"

            run.tasks.append(again)

            if run.repairs:
                run.repairs[-1].task_run_ids.append(again.run_id)

    def _follow_tasks(self, run: Run, tasks: Mapping[str, Task]) -> None:
        latest = run.latest()

        if len(tasks) == 1:
            (one,) = latest.values()
            state = one.life_cycle_state, one.result_state, one.message
        elif all(one.over for one in latest.values()):
            state = ("TERMINATED", "CANCELED", "Run cancelled.") if run.cancel_asked else result_of(tasks, latest)
        else:
            state = ("TERMINATING" if run.cancel_asked else "RUNNING", None, "In run")

        self._put(run, *state)

        if run.over:
            if state[0] == "INTERNAL_ERROR" and len(tasks) > 1:
                run.code = "RUN_EXECUTION_ERROR"

            self._run_over(run)

    def _run_over(self, run: Run) -> None:
        if run.repairs:
            last = run.repairs[-1]
            last.life_cycle_state, last.result_state, last.message = run.life_cycle_state, run.result_state, run.message
            last.end_time, last.code = run.end_time, run.code

        job = self.settings(run)

        if has_failed(run) and not run.cancel_asked and not run.repairs and run.attempt_number < job.max_retries:
            self._run_again(run)
        else:
            self._around.notify(event_of(run), run)

        for one in [each for each in self._runs.values() if each.job_id == run.job_id]:
            if one.life_cycle_state == "QUEUED" and self._active(run.job_id) < (job.max_concurrent_runs or 1):
                self._start(one)

    def _run_again(self, run: Run) -> None:
        again = Run(
            run_id=new_id(),
            job_id=run.job_id,
            idempotency_token=None,
            parameters=dict(run.parameters),
            defaults=dict(run.defaults),
            attempt_number=run.attempt_number + 1,
            original_attempt_run_id=run.original_attempt_run_id or run.run_id,
            start_time=self._around.now(),
        )
        self.begin(again)

    def task(self, run: Run, one: TaskRun) -> Task:
        """Return the settings of the task that this is a run of."""
        key = one.task_key if one.input is None else one.task_key.removesuffix("_iteration")
        return self.settings(run).all_tasks.get(key, Task())

    def _put(self, record: Record, life_cycle_state: str, result_state: str | None, message: str) -> None:
        record.life_cycle_state, record.result_state, record.message = life_cycle_state, result_state, message
        record.code = None
        record.end_time = self._around.now() if record.over else 0
        self._around.record()
