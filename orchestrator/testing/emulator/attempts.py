"""Attempts of tasks: new ones, and what is asked about those that there are."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from orchestrator.testing.emulator.records import Repair, TaskRun

if TYPE_CHECKING:
    from orchestrator.testing.emulator.records import Record, Run


def new_id() -> int:
    """Return the id of a run, of a task's run or of a repair."""
    return secrets.randbelow(2**48) + 1


def pending(key: str, attempt: int = 0, *, given: str | None = None) -> TaskRun:
    """Return a new attempt of a task that may begin at once. `given` is the input of an iteration."""
    return TaskRun(run_id=new_id(), task_key=key, attempt_number=attempt, input=given)


def blocked(key: str, attempt: int = 0) -> TaskRun:
    """Return a new attempt of a task that waits for others."""
    return TaskRun(run_id=new_id(), task_key=key, attempt_number=attempt, life_cycle_state="BLOCKED")


def may_begin(one: TaskRun) -> bool:
    """Return whether an attempt begins as soon as the tasks before it are over."""
    return not one.begun and not one.over and one.life_cycle_state != "WAITING_FOR_RETRY"


def has_failed(record: Record) -> bool:
    """Return whether a run or a task's run ended in a way after which a retry policy tries it again."""
    return record.result_state == "FAILED" or record.life_cycle_state == "INTERNAL_ERROR"


def attempt_of_start(run: Run, one: TaskRun) -> int:
    """Return the attempt's number within the original run or the repair that it belongs to."""
    if len(run.repairs) < 2:  # noqa: PLR2004 - the original and a repair
        return one.attempt_number

    own = set(run.repairs[-1].task_run_ids)
    return sum(each.task_key == one.task_key and each.run_id in own for each in run.tasks) - 1


def as_repair(run: Run, task_run_ids: list[int]) -> Repair:
    """Return a run as the first entry of its own repair history."""
    return Repair(
        run_id=run.run_id,
        life_cycle_state=run.life_cycle_state,
        result_state=run.result_state,
        message=run.message,
        code=run.code,
        start_time=run.start_time,
        end_time=run.end_time,
        task_run_ids=task_run_ids,
    )
