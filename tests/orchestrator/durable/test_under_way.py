"""What is under way beside code, and when the code is given the signal that suspends it."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.durable.turns import TURNS
from orchestrator.durable.under_way import UnderWay
from orchestrator.errors import Misused


async def test_nothing_may_begin_where_that_is_forbidden() -> None:
    under_way = UnderWay()
    under_way.check()
    under_way.forbid("not here")

    with pytest.raises(Misused, match="not here"):
        under_way.check()


async def test_the_signal_is_held_until_nothing_else_has_been_under_way_for_some_turns() -> None:
    under_way, first, second = UnderWay(), asyncio.Event(), asyncio.Event()
    under_way.add(asyncio.ensure_future(first.wait()))
    held = [asyncio.ensure_future(under_way.suspending()) for _ in range(3)]
    await _turns(2 * TURNS)
    assert not any(each.done() for each in held)

    first.set()
    await _turns(TURNS // 2)
    under_way.add(asyncio.ensure_future(second.wait()))
    held[0].cancel()
    await _turns(2 * TURNS)
    assert [each.cancelled() for each in held] == [True, False, False]
    assert not held[1].done()
    assert not under_way.idle

    second.set()
    await _turns(2 * TURNS)
    assert all(each.done() for each in held)
    assert under_way.idle


async def test_the_signal_is_given_at_once_to_the_code_that_nothing_runs_beside() -> None:
    under_way = UnderWay()
    under_way.add(asyncio.get_running_loop().create_future())
    await under_way.suspending()

    assert under_way.was_suspended()


async def test_the_task_that_was_given_the_signal_may_begin_nothing_more_and_others_may() -> None:
    under_way = UnderWay()
    await asyncio.create_task(_given(under_way))
    under_way.check()
    under_way.suspended()

    with pytest.raises(Misused, match="caught the signal that suspends it"):
        under_way.check()


async def _given(under_way: UnderWay) -> None:
    under_way.suspended()


async def test_code_that_waits_in_memory_is_dropped_when_another_part_of_it_begins_something() -> None:
    under_way, dropped = UnderWay(), asyncio.Event()
    under_way.begin_keeping(dropped.set)
    under_way.check()
    assert dropped.is_set()

    dropped.clear()
    under_way.kept.end()
    under_way.check()
    assert not dropped.is_set()
    assert not under_way.idle


async def test_code_that_waits_in_memory_counts_as_under_way_and_is_dropped_when_another_part_of_it_waits() -> None:
    under_way, dropped = UnderWay(), asyncio.Event()
    under_way.begin_keeping(dropped.set)
    assert not under_way.idle

    waiting = asyncio.ensure_future(under_way.suspending())
    await _turns(2 * TURNS)
    assert dropped.is_set()
    assert not waiting.done()

    under_way.end_keeping()
    await _turns(2 * TURNS)
    assert waiting.done()
    assert under_way.idle


async def _turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)
