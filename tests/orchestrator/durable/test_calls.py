"""What was begun and not awaited is told with its line, and nothing is told of what was."""

from __future__ import annotations

import asyncio

from orchestrator.durable.calls import Calls, place_of_call, shown


async def seven() -> int:
    return 7


def test_a_place_is_the_authors_own_line() -> None:
    line = test_a_place_is_the_authors_own_line.__code__.co_firstlineno + 2

    assert shown(place_of_call()) == f" at test_calls.py:{line + 1} in test_a_place_is_the_authors_own_line"


def test_a_step_is_forgotten_until_it_is_awaited() -> None:
    calls = Calls()
    awaited = calls.step_begun("run", "charge")

    assert str(calls.forgotten()).startswith(
        "the step charge was started and never awaited: write await ctx.run(charge"
    )

    awaited()
    awaited()

    assert calls.forgotten() is None


async def test_a_coroutine_is_forgotten_unless_it_has_begun_or_a_task_will_begin_it() -> None:
    calls = Calls()

    assert await calls.must_await(seven(), "seven()") == 7
    assert calls.forgotten() is None

    task = asyncio.create_task(calls.must_await(seven(), "seven()"))
    assert calls.forgotten() is None
    calls.end()
    assert await task == 7

    _ = calls.must_await(seven(), "seven()")
    assert str(calls.forgotten()).startswith(
        "seven() was called and never awaited: write await seven() at test_calls.py:"
    )
    assert calls.forgotten() is None


async def test_what_is_over_is_not_kept() -> None:
    calls = Calls()

    for _ in range(1000):
        await calls.must_await(seven(), "seven()")

    assert len(calls._coroutines) == 1
