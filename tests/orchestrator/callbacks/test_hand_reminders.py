"""Reminders by hand in the store, on every engine: numbered without gaps, at most one a minute."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from resonate.types import PromiseRecord
from support.plant import plant

from orchestrator.callbacks.hand_reminders import RemindedAlready, is_last, read_reminders, record_reminder
from orchestrator.durable.opened_at import companion_id
from orchestrator.durable.scheduling import own_tags

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from orchestrator.engine.promises import Promises

FAR = 4_000_000_000_000
WAIT = PromiseRecord(id="consult.1:1", state="pending", timeout_at=FAR, created_at=1)


@pytest.fixture
async def promises(tmp_path: Path, engine_url: str) -> AsyncIterator[Promises]:
    async with plant(tmp_path, engine_url, working=False) as one:
        yield one.engine.promises


async def ask(promises: Promises, now: float, reason: str = "") -> int:
    return (await record_reminder(promises, WAIT, by="ops", reason=reason, now=now)).number


async def test_less_than_a_minute_after_the_last_one_it_is_refused_with_the_seconds_left(promises: Promises) -> None:
    assert await read_reminders(promises, WAIT) == []
    first = await record_reminder(promises, WAIT, by="ops", reason="why", now=1.0)

    for later, left in ((0, 60), (1, 60), (59_001, 1), (59_999, 1)):
        with pytest.raises(RemindedAlready) as refused:
            await ask(promises, (first.at + later) / 1000)

        assert (refused.value.last, refused.value.seconds) == (first, left)

    assert await ask(promises, (first.at + 60_000) / 1000) == 2


async def test_of_many_at_the_same_instant_one_is_recorded(promises: Promises) -> None:
    numbers = await asyncio.gather(*(ask(promises, 1.0) for _ in range(30)), return_exceptions=True)

    assert [number for number in numbers if not isinstance(number, RemindedAlready)] == [1]
    assert await is_last(promises, WAIT, 1)


async def test_the_last_ones_are_read_and_none_before_them(promises: Promises) -> None:
    for number in range(1, 20):
        assert await ask(promises, FAR / 1000, reason=str(number)) == number
        assert await is_last(promises, WAIT, number)
        assert number == 1 or not await is_last(promises, WAIT, number - 1)

    found = await read_reminders(promises, WAIT)
    assert [(one.number, one.by, one.reason) for one in found] == [(n, "ops", str(n)) for n in range(15, 20)]


async def test_what_somebody_else_wrote_there_is_no_reminder_and_stops_none(promises: Promises) -> None:
    promise_id = companion_id(WAIT, "byhand1")
    await promises.create(promise_id, timeout_at=FAR, param={"reminder": 1}, tags=own_tags(promise_id))

    assert await read_reminders(promises, WAIT) == []

    assert await ask(promises, 1.0) == 2
    assert [each.number for each in await read_reminders(promises, WAIT)] == [2]
