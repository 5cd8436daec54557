"""What a workspace records: runs, the runs of their tasks, and repairs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

OVER: Final = frozenset({"TERMINATED", "SKIPPED", "INTERNAL_ERROR"})


@dataclass(kw_only=True)
class Record:
    """What a run and a task's run have in common. Times are milliseconds since 1970, `end_time` is 0 until the end.

    `code` is the code of the newer `termination_details`, None if it follows from the state.
    """

    run_id: int
    attempt_number: int = 0
    life_cycle_state: str = "PENDING"
    result_state: str | None = None
    message: str = ""
    code: str | None = None
    start_time: int = 0
    end_time: int = 0

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.life_cycle_state in OVER


@dataclass(kw_only=True)
class TaskRun(Record):
    """An attempt of a task. `result` is what its notebook gave to `dbutils.notebook.exit`, None if it never did.

    `begun` says whether the task was started or skipped; `due_at` is when a retry may start. `pid`, `exit_code` and
    `printed` are those of its process, if it has one. `input` is that of an iteration.
    """

    task_key: str
    begun: bool = False
    due_at: int = 0
    result: str | None = None
    logs: str = ""
    error: str | None = None
    error_trace: str | None = None
    pid: int | None = None
    exit_code: int | None = None
    printed: str = ""
    input: str | None = None
    iterations: list[TaskRun] = field(default_factory=list)


@dataclass(kw_only=True)
class Repair(Record):
    """The original run, or a repair of it: how that ended, and the task runs that belong to it."""

    task_run_ids: list[int] = field(default_factory=list)


@dataclass(kw_only=True)
class Run(Record):
    """A run of a job. `tasks` has every attempt of every task, oldest first."""

    job_id: int
    idempotency_token: str | None
    parameters: dict[str, str]
    defaults: dict[str, str]
    deleted: bool = False
    cancel_asked: bool = False
    original_attempt_run_id: int | None = None
    tasks: list[TaskRun] = field(default_factory=list)
    repairs: list[Repair] = field(default_factory=list)

    def latest(self) -> dict[str, TaskRun]:
        """Return the latest attempt of each task."""
        return {task.task_key: task for task in self.tasks}

    def all_task_runs(self) -> list[TaskRun]:
        """Return every attempt of every task, iterations included."""
        return [one for task in self.tasks for one in (task, *task.iterations)]

    @property
    def pid(self) -> int | None:
        """The process of the latest task."""
        return self.tasks[-1].pid if self.tasks else None

    @property
    def exit_code(self) -> int | None:
        """The exit code of that process, None while there is none."""
        return self.tasks[-1].exit_code if self.tasks else None

    @property
    def output(self) -> str:
        """What that process has printed so far."""
        return self.tasks[-1].printed if self.tasks else ""


def read_run(stored: dict[str, Any]) -> Run:
    """Return the run that `dataclasses.asdict` made this object of."""
    tasks = [
        TaskRun(**{**one, "iterations": [TaskRun(**each) for each in one["iterations"]]}) for one in stored["tasks"]
    ]

    return Run(**{**stored, "tasks": tasks, "repairs": [Repair(**one) for one in stored["repairs"]]})
