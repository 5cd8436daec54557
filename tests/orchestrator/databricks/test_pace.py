"""The pace of polls: so many a second, none while the workspace asks for that, and one alone after a failure."""

from __future__ import annotations

import asyncio

import pytest
from support.clocks import Clock

from orchestrator.databricks.pace import FIRST_HOLD, LONGEST_HOLD, Held, Pace, longest_sleep
from orchestrator.errors import StepRefused, StepUnavailable


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pace(clock: Clock) -> Pace:
    return Pace(rate=10, clock=clock, sleep=clock.sleep)


async def call(pace: Pace, error: Exception | None = None) -> None:
    async with pace.turn():
        if error is not None:
            raise error


async def failed(pace: Pace, retry_after: float | None = None) -> None:
    with pytest.raises(StepUnavailable):
        await call(pace, StepUnavailable("no", retry_after=retry_after))


async def left(pace: Pace) -> float | None:
    try:
        await call(pace)
    except Held as held:
        return held.retry_after

    return None


async def test_calls_are_spread_evenly_however_many_come_at_once(pace: Pace, clock: Clock) -> None:
    began = clock.now

    for _ in range(1000):
        await call(pace)

    assert clock.now - began == pytest.approx(99.9)


async def test_what_one_caller_is_asked_to_wait_all_wait(pace: Pace, clock: Clock) -> None:
    await failed(pace, retry_after=30)

    for later, remaining in ((0, 30), (10, 20), (19, 1)):
        clock.now += later
        assert await left(pace) == pytest.approx(remaining)

    clock.now += 1
    assert await left(pace) is None


async def test_the_longest_time_that_was_asked_for_counts(pace: Pace) -> None:
    gates = [asyncio.Event() for _ in range(2)]

    async def call_and_fail(gate: asyncio.Event, retry_after: float) -> None:
        async with pace.turn():
            await gate.wait()
            raise StepUnavailable("no", retry_after=retry_after)

    calls = [asyncio.create_task(call_and_fail(gate, after)) for gate, after in zip(gates, (30, 1), strict=True)]
    await asyncio.sleep(0)

    for gate, each in zip(gates, calls, strict=True):
        gate.set()
        await asyncio.wait([each])

    assert [type(each.exception()) for each in calls] == [StepUnavailable] * 2
    assert await left(pace) == pytest.approx(30)


async def test_a_workspace_that_asks_for_no_pause_gets_one_all_the_same(pace: Pace) -> None:
    await failed(pace, retry_after=0)

    assert await left(pace) == FIRST_HOLD


async def test_without_a_time_the_pause_doubles_up_to_a_limit_and_a_success_ends_it(pace: Pace, clock: Clock) -> None:
    pauses = []

    for _ in range(8):
        await failed(pace)
        pauses.append(await left(pace))
        clock.now += pauses[-1] or 0

    assert pauses == pytest.approx([1, 2, 4, 8, *[LONGEST_HOLD] * 4])
    await call(pace)
    await failed(pace)
    assert await left(pace) == pytest.approx(FIRST_HOLD)


async def test_after_a_failure_one_call_is_made_alone(pace: Pace, clock: Clock) -> None:
    await failed(pace)
    clock.now += FIRST_HOLD
    answered = asyncio.Event()

    async def probe() -> None:
        async with pace.turn():
            await answered.wait()

    probing = asyncio.create_task(probe())
    await asyncio.sleep(0)
    assert await left(pace) == FIRST_HOLD
    assert await left(pace) == FIRST_HOLD
    answered.set()
    await probing
    assert await left(pace) is None


async def test_a_probe_that_is_cancelled_leaves_its_place_to_another(pace: Pace, clock: Clock) -> None:
    await failed(pace)
    clock.now += FIRST_HOLD

    async def probe() -> None:
        async with pace.turn():
            await asyncio.Event().wait()

    probing = asyncio.create_task(probe())
    await asyncio.sleep(0)
    probing.cancel()
    await asyncio.gather(probing, return_exceptions=True)
    assert await left(pace) is None


async def test_those_that_wait_for_their_turn_when_a_call_fails_do_not_call(pace: Pace, clock: Clock) -> None:
    gate = asyncio.Event()

    async def wait(_: float) -> None:
        await gate.wait()

    slow = Pace(rate=10, clock=clock, sleep=wait)
    await call(slow)
    queued = [asyncio.create_task(left(slow)) for _ in range(50)]
    await asyncio.sleep(0)
    slow._hold(7.0)
    gate.set()
    assert await asyncio.gather(*queued) == [pytest.approx(7.0)] * 50


async def test_a_refusal_is_an_answer(pace: Pace, clock: Clock) -> None:
    await failed(pace)
    clock.now += FIRST_HOLD

    with pytest.raises(StepRefused):
        await call(pace, StepRefused("no"))

    assert await left(pace) is None


async def test_after_a_refusal_nobody_calls_alone(pace: Pace, clock: Clock) -> None:
    await failed(pace)
    clock.now += FIRST_HOLD

    with pytest.raises(StepRefused):
        await call(pace, StepRefused("no"))

    async with pace.turn():
        assert await left(pace) is None


async def test_within_a_turn_the_library_does_not_sleep(pace: Pace) -> None:
    async with pace.turn():
        assert longest_sleep.get() == 0

    assert longest_sleep.get() is None
