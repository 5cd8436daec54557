"""Pauses that last a tenth, for tests that are about what follows a pause and not about its length.

This shortens the sleeps of workflows, the pauses between the tries of a step, the delays of calls that are scheduled
for later, and the pauses of the Databricks client between two tries. Deadlines keep their length.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from databricks.sdk.clock import RealClock
from resonate.context import Context

from orchestrator.approvals import reminders
from orchestrator.databricks import watcher
from orchestrator.durable import policy, scheduling

if TYPE_CHECKING:
    from datetime import timedelta

    import pytest

TIMES = 10


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses until the monkeypatch is undone."""
    sleep, schedule = Context.sleep, scheduling.schedule

    def nap(ctx: Context, duration: timedelta) -> Any:
        return sleep(ctx, duration / TIMES)

    async def schedule_soon(*args: Any, seconds: float, **fields: Any) -> None:
        await schedule(*args, seconds=seconds / TIMES, **fields)

    monkeypatch.setattr(Context, "sleep", nap)
    monkeypatch.setattr(policy, "FIRST_PAUSE", policy.FIRST_PAUSE / TIMES)
    monkeypatch.setattr(RealClock, "sleep", lambda _, seconds: time.sleep(seconds / TIMES))

    for module in (watcher, reminders):
        monkeypatch.setattr(module, "schedule", schedule_soon)
