"""The error tree: everything Countersign raises for a caller to act on.

Errors carry data and their message is a plain sentence. No message holds a token, a key, a body or the value of a
setting, because any of these texts may end up in a log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence


class CountersignError(Exception):
    """The root of the tree."""


#: The message of a `WorkflowCancelled` that stands for a cancel of the workflow itself.
CANCELLED: Final = "the workflow was cancelled"


class StartRefused(CountersignError):
    """The process must not start: exit code 2 and this message, in one line, on stderr."""


class ConfigurationError(StartRefused):
    """A setting is missing or unusable. Names the variable, never its value."""

    def __init__(self, variable: str, reason: str) -> None:
        super().__init__(f"{variable} {reason}")
        self.variable = variable
        self.reason = reason


class EngineInUse(StartRefused):
    """Another process owns the embedded engine's file."""


class DependencyUnusable(StartRefused):
    """A dependency of the steps could not be opened. The message names it and its module."""


class JournalUnusable(StartRefused):
    """The embedded engine's file is damaged, or was not written by Countersign. Nothing in it was changed."""


class EngineUnavailable(CountersignError):
    """The engine sent no usable reply in time. Whether it acted is unknown; retrying is safe.

    `detail` is for the operator, in logs and `scripts/doctor`. It may name hosts and users, so strangers never see it.
    """

    def __init__(self, message: str, *, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class SchemaMissing(EngineUnavailable):
    """The database is reachable but holds no engine. The message is the command that installs one."""


class UnknownPromise(CountersignError):
    """The engine holds no promise with this id."""

    def __init__(self, promise_id: str) -> None:
        super().__init__(f"there is no promise {promise_id}")
        self.promise_id = promise_id


class Misdefined(CountersignError, TypeError, ValueError):
    """A workflow or a step is defined in a way that cannot work. The message names it and says what it needs."""


class Misused(CountersignError, TypeError, ValueError):
    """A workflow's code uses `ctx`, a step or a wait in a way that cannot work. The message names what it needs.

    It quotes no value, because the log and the API show it.
    """


class CodeChanged(CountersignError):
    """A workflow's code asks for another step than the one recorded at its place. The message names both.

    The workflow is not over: it goes on when its code fits the record again.
    """


class NotJson(CountersignError, ValueError):
    """A value from a workflow or a step cannot be written as JSON. The message names the place in it."""


class WorkflowEnded(CountersignError):
    """Raised by a workflow's code to end it in a state other than `succeeded`.

    `error` is what the workflow API shows: a JSON object with at least a `message`.
    """

    state: Literal["failed", "expired", "cancelled"]

    def __init__(self, message: str, /, **error: object) -> None:
        super().__init__(message)
        error.pop("message", None)
        self.error: dict[str, object] = {"message": message, **error}

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.error))


def _rebuild(kind: type[WorkflowEnded], error: dict[str, object]) -> WorkflowEnded:
    rest = {name: value for name, value in error.items() if name != "message"}
    return kind(str(error["message"]), **rest)


class WorkflowFailed(WorkflowEnded):
    """The workflow ends `failed`, at once and without a retry: `WorkflowFailed("sold out", show="Hamlet")`.

    The API shows the message, and the keywords beside it, so put nothing secret there.
    """

    state: Literal["failed", "expired", "cancelled"] = "failed"


class WorkflowExpired(WorkflowEnded):
    """The workflow ends `expired`: a wait reached its deadline."""

    state = "expired"


class WorkflowCancelled(WorkflowEnded):
    """The workflow ends `cancelled`, after it has compensated."""

    state = "cancelled"


class JobFailed(WorkflowFailed):
    """A Databricks job did not succeed. Uncaught, it ends the workflow as `databricks_pipeline` ends.

    `outcome` is `failed` (as the job itself reported), `died` (it ended without an answer), `expired` or `cancelled`.
    One that expired is a `WorkflowExpired` too, and one that was cancelled a `WorkflowCancelled`. `details` is what
    else is known, or None, and `run_id` the Databricks run, None if there is none.
    """

    def __init__(self, message: str, /, *, outcome: str, run_id: int | None, details: object = None) -> None:
        told = {} if details is None else {"details": details}
        super().__init__(message, outcome=outcome, run_id=run_id, **told)
        self.outcome = outcome
        self.message = message
        self.details = details
        self.run_id = run_id


class JobExpired(JobFailed, WorkflowExpired):
    """The job did not answer before its deadline."""

    state = "expired"


class JobCancelled(JobFailed, WorkflowCancelled):
    """The job was cancelled, because its workflow was."""

    state = "cancelled"


class NotUndone(CountersignError):
    """Steps that were to undo something failed for good. Uncaught, it ends the workflow `failed`, whatever came before.

    `steps` says which, and with which type of error. The cause is what the workflow would have ended with otherwise.
    """

    def __init__(self, steps: Sequence[str]) -> None:
        super().__init__(f"not undone: {', '.join(steps)}")
        self.steps = tuple(steps)


class StepRefused(CountersignError):
    """An outside system refused permanently: retrying is pointless. The message is its reason and may be shown."""


class StepFailed(CountersignError):
    """What a workflow sees when a step raised an error of another type and its tries are used up.

    `kind` is the name of the error's type, empty where it is not known, and `message` its text. `where` is the step and
    the author's line, as `charge at shop.py:12 in charge`, empty where it is not known. The error itself stays where it
    was raised: only plain data goes through the promise store, so a first run sees the same as a replay.
    """

    def __init__(self, message: str, *, kind: str = "", where: str = "") -> None:
        super().__init__(f"{kind}: {message}" if kind else message)
        self.kind = kind
        self.message = message
        self.where = where


class StoreTampered(CountersignError):
    """A promise does not hold what one of our processes wrote there; the workflow that relies on it ends `failed`."""

    def __init__(self, promise_id: str) -> None:
        super().__init__(f"the store was tampered with: promise {promise_id} does not hold what was written there")
        self.promise_id = promise_id


class StepUnavailable(CountersignError):
    """An outside system could not be reached, or it asked to be called later. Retrying may help.

    `retry_after` is in seconds, None where the system named no time.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
