"""In which order code learns of what is over, and how much it can do in between."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from itertools import pairwise

import pytest

from orchestrator.durable.turns import STEP_TURNS, TURNS, Turns


async def test_what_has_only_ended_now_is_told_one_after_the_other_and_counts_until_then() -> None:
    turns, seen = Turns(), list[int]()

    async def noted(number: int) -> None:
        await turns.step_over((0,), recorded=False)
        seen.append(number)

    tasks = [asyncio.ensure_future(noted(number)) for number in range(3)]
    counts = []
    await _turns(1)

    for _ in range(3):
        counts.append(len(seen))
        assert not turns.idle
        await _turns(STEP_TURNS + 2)

    assert counts == [0, 1, 2]
    assert seen == [0, 1, 2]
    await asyncio.gather(*tasks)
    assert turns.idle


@pytest.mark.parametrize("apart", [1, STEP_TURNS // 2, STEP_TURNS - 1])
@pytest.mark.parametrize("recorded_first", [False, True])
async def test_between_two_steps_that_are_over_the_code_can_always_begin_its_next_step(
    apart: int,
    recorded_first: bool,  # noqa: FBT001
) -> None:
    turns, told, turn = Turns(), dict[str, int](), 0

    async def noted(name: str, over: Awaitable[None]) -> None:
        await over
        told[name] = turn

    def by_the_record() -> list[asyncio.Future[None]]:
        return [asyncio.ensure_future(noted(str(at), turns.step_over((at,), recorded=True))) for at in (2, 1)]

    def only_now() -> list[asyncio.Future[None]]:
        return [asyncio.ensure_future(noted("now", turns.spaced()))]

    begin = [by_the_record, only_now] if recorded_first else [only_now, by_the_record]
    tasks = begin[0]()

    for turn in range(20 * STEP_TURNS):
        if turn == apart:
            tasks += begin[1]()

        await asyncio.sleep(0)

    await asyncio.gather(*tasks)
    assert told["1"] < told["2"]
    assert all(after - before >= STEP_TURNS - 1 for before, after in pairwise(sorted(told.values())))


async def test_what_is_held_goes_on_by_rank_and_then_in_order_once_nothing_else_is_under_way() -> None:
    turns, other = Turns(), asyncio.Event()
    turns.add(asyncio.ensure_future(other.wait()))
    seen: list[str] = []

    async def noted(name: str, turn: Awaitable[None]) -> None:
        await turn
        seen.append(name)

    waits = [
        noted("open", turns.nothing_else()),
        noted("answered later", turns.over((2, 1))),
        noted("answered", turns.over((1, 2))),
        noted("step later", turns.step_over((5, 1), recorded=True)),
        noted("step", turns.step_over((4, 2), recorded=True)),
        noted("step for another", turns.step_over((4, 2), recorded=True)),
    ]
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    await _turns(1)
    tasks.append(asyncio.ensure_future(noted("step over now", turns.step_over((6, 1), recorded=False))))
    await _turns(STEP_TURNS + STEP_TURNS // 2)
    assert seen == ["step"]

    await _turns(4 * TURNS)
    assert seen[1:] == ["step for another", "step later", "step over now"]
    assert not turns.idle

    other.set()
    await _turns(3 * TURNS)
    assert seen[4:] == ["answered", "answered later", "open"]
    assert turns.idle


async def test_a_step_on_record_goes_on_once_the_record_of_all_that_was_begun_is_known() -> None:
    turns, asked = Turns(), asyncio.get_running_loop().create_future()
    turns.add(asyncio.get_running_loop().create_future(), asked=asked)
    held = asyncio.ensure_future(turns.step_over((1,), recorded=True))
    await _turns(2 * TURNS)
    assert not held.done()

    asked.set_result(None)
    await _turns(2 * TURNS)
    assert held.done()


async def _turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)
