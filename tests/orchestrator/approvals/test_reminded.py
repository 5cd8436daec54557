"""How often people were reminded is counted exactly, for this very wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.approving import desk

from orchestrator.approvals.reminded import count_reminders, note_reminder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.approving import Desk


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path) as one:
        yield one


async def test_reminders_are_counted_each_once(here: Desk) -> None:
    await here.ask("1")
    await here.ask("2", people=["bob@example.org"])
    promises = here.engine.promises
    wait, other = await promises.get("consult.1:1"), await promises.get("consult.2:1")

    for number in range(40):
        assert await count_reminders(promises, wait) == number

        for _ in range(2):
            await note_reminder(promises, wait, number + 1)

    assert await count_reminders(promises, other) == 0


async def test_a_reminder_that_was_sent_is_noted(here: Desk) -> None:
    await here.ask(remind_after=0.05, people=["ada@example.org", "bob@example.org"])
    await here.letter("bob@example.org", number=3)

    assert await count_reminders(here.engine.promises, await here.engine.promises.get("consult.1:1")) >= 2
