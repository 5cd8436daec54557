"""What a workspace is given: its jobs and their tasks, with what becomes of their runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from orchestrator.databricks import NOTEBOOK

if TYPE_CHECKING:
    from collections.abc import Mapping

#: What becomes of a task's run. "notebook" runs the notebook as a process. "hold" and "blocked" stay RUNNING or BLOCKED
#: until they are moved. The others are over at once, without a callback: TERMINATED/SUCCESS, TERMINATED/FAILED,
#: INTERNAL_ERROR, SKIPPED, TERMINATED/TIMEDOUT and SKIPPED/DISABLED.
Fate = Literal["notebook", "hold", "blocked", "succeeds", "fails", "dies", "skipped", "times_out", "disabled"]

#: The state, result and message that a run has at once under each fate but "notebook".
SCRIPTED: Final[Mapping[Fate, tuple[str, str | None, str]]] = {
    "hold": ("RUNNING", None, "In run"),
    "blocked": ("BLOCKED", None, "Waiting for an upstream task"),
    "succeeds": ("TERMINATED", "SUCCESS", ""),
    "fails": ("TERMINATED", "FAILED", "Workload failed, see run output for details"),
    "dies": ("INTERNAL_ERROR", "FAILED", "The cluster was lost"),
    "skipped": ("SKIPPED", "MAXIMUM_CONCURRENT_RUNS_REACHED", "A previous run of the job was active"),
    "times_out": ("TERMINATED", "TIMEDOUT", "The run exceeded its timeout"),
    "disabled": ("SKIPPED", "DISABLED", "The task is disabled"),
}

RunIf = Literal["ALL_SUCCESS", "ALL_DONE", "ALL_FAILED", "AT_LEAST_ONE_FAILED", "AT_LEAST_ONE_SUCCESS", "NONE_FAILED"]

#: The field of the API that says what a task does, and so what kind of output its run has.
Kind = Literal[
    "notebook_task",
    "spark_python_task",
    "python_wheel_task",
    "spark_jar_task",
    "sql_task",
    "dbt_task",
    "run_job_task",
    "condition_task",
]

#: The key of the task of a job that names none.
ONLY_TASK: Final = "main"


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task of a job. `then` are the fates of its second and further attempts; the last one is repeated.

    `output` is what its notebook gives to `dbutils.notebook.exit` when the fate is "succeeds", None if it never does.
    `logs` and `error` are those of a run that is over without a process. With `for_each`, the task runs once for each
    of these inputs. `max_retries` and `min_retry_interval_millis` are the API's.
    """

    fate: Fate = "notebook"
    then: tuple[Fate, ...] = ()
    kind: Kind = "notebook_task"
    depends_on: tuple[str, ...] = ()
    run_if: RunIf = "ALL_SUCCESS"
    output: str | None = None
    logs: str = ""
    error: str | None = None
    max_retries: int = 0
    min_retry_interval_millis: int = 0
    for_each: tuple[str, ...] | None = None

    def fate_of(self, attempt: int) -> Fate:
        """Return the fate of an attempt, counted from 0."""
        fates = (self.fate, *self.then)

        return fates[min(attempt, len(fates) - 1)]


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """Where the notifications of a job go: an address, and the user and password of its basic authentication."""

    url: str
    user: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job of the workspace. `parameters` are the declared ones with their defaults; None accepts any parameter.

    `tasks` are its tasks by key; without any, the job has one with the job's `fate`. `environment` is added to the
    environment of a notebook's process, in place of the cluster's configuration and secrets. A run above
    `max_concurrent_runs` is QUEUED if the job has a `queue`, else SKIPPED. `max_retries` is the retry policy of a whole
    run: a further attempt is a run of its own. `webhook` gets the notifications of start, success and failure.
    """

    fate: Fate = "notebook"
    parameters: Mapping[str, str] | None = None
    notebook: str = str(NOTEBOOK)
    environment: Mapping[str, str] = field(default_factory=dict)
    permitted: bool = True
    max_concurrent_runs: int | None = None
    tasks: Mapping[str, Task] | None = None
    queue: bool = False
    max_retries: int = 0
    name: str = ""
    webhook: Webhook | None = None

    def __post_init__(self) -> None:
        known: set[str] = set()

        for key, task in (self.tasks or {}).items():
            if unknown := sorted(set(task.depends_on) - known):
                raise ValueError(f"the task {key} depends on {unknown}, which do not come before it")

            known.add(key)

    @property
    def all_tasks(self) -> Mapping[str, Task]:
        """The job's tasks by key, each after those that it depends on."""
        return {ONLY_TASK: Task(fate=self.fate)} if self.tasks is None else self.tasks


def read_job(value: Mapping[str, Any]) -> Job:
    """Return the job that a JSON object describes: the fields of `Job`, with `tasks` and `webhook` as objects.

    Raises:
        TypeError, ValueError, AttributeError: it does not describe a job.
    """
    given = dict(value)

    if given.get("tasks") is not None:
        given["tasks"] = {key: _read_task(task) for key, task in given["tasks"].items()}

    if given.get("webhook") is not None:
        given["webhook"] = Webhook(**given["webhook"])

    return Job(**given)


def _read_task(value: Mapping[str, Any]) -> Task:
    given: dict[str, Any] = {name: tuple(one) if isinstance(one, list) else one for name, one in value.items()}

    return Task(**given)
