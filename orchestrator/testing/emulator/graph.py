"""What becomes of a task once those it depends on are over, and of a run once all its tasks are.

After https://docs.databricks.com/aws/en/jobs/run-if. That page and the API's reference say when a task is run, what an
excluded one counts as, and that the leaf tasks decide. In which life cycle state a task is that was never run, they do
not say; here it is SKIPPED.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from orchestrator.testing.emulator.definitions import RunIf, Task
    from orchestrator.testing.emulator.records import TaskRun

_FAILED: Final = frozenset({"FAILED", "TIMEDOUT", "UPSTREAM_FAILED", "MAXIMUM_CONCURRENT_RUNS_REACHED"})
_CANCELED: Final = frozenset({"CANCELED", "UPSTREAM_CANCELED"})
_PASSED_OVER: Final = frozenset({"EXCLUDED", "DISABLED"})


def instead_of_running(run_if: RunIf, upstream: Collection[str]) -> str | None:
    """Return the result of a task that is not run after these results of the tasks it depends on; None if it is run."""
    executed = [result for result in upstream if result not in _PASSED_OVER]

    if upstream and not executed:
        return "EXCLUDED"

    failed = [result in _FAILED for result in executed]
    canceled = any(result in _CANCELED for result in executed)

    if run_if == "ALL_SUCCESS":
        return "UPSTREAM_FAILED" if any(failed) else "UPSTREAM_CANCELED" if canceled else None

    met = {
        "ALL_DONE": True,
        "ALL_FAILED": all(failed),
        "AT_LEAST_ONE_FAILED": any(failed),
        "AT_LEAST_ONE_SUCCESS": any(result == "SUCCESS" for result in executed),
        "NONE_FAILED": not any(failed),
    }

    return None if met[run_if] else "EXCLUDED"


def result_of(tasks: Mapping[str, Task], latest: Mapping[str, TaskRun]) -> tuple[str, str, str]:
    """Return life cycle state, result state and message of a run all of whose tasks are over."""
    inner = {upstream for task in tasks.values() for upstream in task.depends_on}
    leaves = {str(latest[key].result_state) for key in tasks if key not in inner}
    results = {key: str(latest[key].result_state) for key in tasks}

    if leaves & _FAILED:
        key = next(key for key, result in results.items() if result in _FAILED)
        skipped = ". This caused all downstream tasks to get skipped." if "UPSTREAM_FAILED" in leaves else ""

        return "INTERNAL_ERROR", "FAILED", f"Task {key} failed with message: {latest[key].message}{skipped}"

    if leaves & _CANCELED:
        return "TERMINATED", "CANCELED", "Run cancelled."

    if any(result in _FAILED | _CANCELED for result in results.values()):
        return "TERMINATED", "SUCCESS_WITH_FAILURES", ""

    return "TERMINATED", "SUCCESS", ""
