"""A call has so many seconds, however often it waits; what is over at once takes no timer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from support.skipping import SKIPPING

from orchestrator.engine.within import within


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return SKIPPING


async def sleepy(*naps: float) -> str:
    for nap in naps:
        await asyncio.sleep(nap)

    return "over"


async def test_a_call_that_waits_for_nothing_takes_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(asyncio, "timeout")

    assert await within(1, sleepy()) == "over"

    with pytest.raises(AttributeError):
        await within(1, sleepy(0))


async def test_a_call_may_wait_several_times_within_its_limit() -> None:
    assert await within(5, sleepy(0, 1, 0, 2)) == "over"


async def test_a_call_is_cancelled_when_its_time_is_over() -> None:
    told: list[str] = []

    async def call() -> None:
        await asyncio.sleep(0)

        try:
            await sleepy(1, 1, 10)
        except asyncio.CancelledError:
            told.append("cancelled")
            raise

    with pytest.raises(TimeoutError):
        await within(5, call())

    assert told == ["cancelled"]


async def test_what_a_call_raises_is_raised_before_and_after_it_has_waited() -> None:
    async def failing(*naps: float) -> None:
        await sleepy(*naps)
        raise ZeroDivisionError

    for naps in ((), (0.0,), (1.0, 1.0)):
        with pytest.raises(ZeroDivisionError):
            await within(5, failing(*naps))


@pytest.mark.parametrize("naps", [(), (1.0,)])
async def test_a_cancel_from_outside_reaches_the_call_which_may_finish_something(naps: tuple[float, ...]) -> None:
    told: list[str] = []

    async def call() -> None:
        try:
            await sleepy(3600)
        except asyncio.CancelledError:
            told.append(await sleepy(*naps))
            raise

    task = asyncio.ensure_future(within(7200, call()))
    await asyncio.sleep(1)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task

    assert told == ["over"]


async def test_the_time_goes_on_while_a_call_that_was_cancelled_finishes() -> None:
    async def call() -> str:
        try:
            return await sleepy(3600)
        except asyncio.CancelledError:
            return await sleepy(1)

    task = asyncio.ensure_future(within(7200, call()))
    await asyncio.sleep(1)
    task.cancel()

    assert await task == "over"
