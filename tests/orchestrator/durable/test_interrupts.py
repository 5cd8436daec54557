"""What is interrupted when, with a clock that the test moves."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from support.clocks import Clock
from support.plant import pause

from orchestrator.durable.interrupts import GRACE, Interrupts
from orchestrator.errors import WorkflowCancelled


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def interrupts(clock: Clock) -> Interrupts:
    return Interrupts(clock)


async def forever() -> Any:
    await asyncio.get_running_loop().create_future()


async def test_a_step_gets_its_grace_after_the_cancel_is_known(interrupts: Interrupts, clock: Clock) -> None:
    step = asyncio.ensure_future(interrupts.step("1", forever, shielded=False))
    await pause(0)
    clock.now += 1000
    assert interrupts.enforce() is None

    interrupts.request()
    clock.now += GRACE - 1
    interrupts.enforce()
    await pause(0)
    assert not step.done()

    clock.now += 1
    interrupts.enforce()

    with pytest.raises(WorkflowCancelled):
        await step

    assert interrupts.told
    assert not interrupts.active


async def test_two_steps_with_one_id_may_run_at_once(interrupts: Interrupts) -> None:
    async def first() -> int:
        await pause(0)
        return 1

    async def second() -> int:
        await pause(0.01)
        return 2

    steps = (interrupts.step("1~look", each, shielded=False) for each in (first, second))

    assert await asyncio.gather(*steps) == [1, 2]
    assert not interrupts.active


async def test_a_pause_between_two_tries_ends_at_once(interrupts: Interrupts) -> None:
    async def pauses() -> None:
        await interrupts.pause("1", forever())

    step = asyncio.ensure_future(interrupts.step("1", pauses, shielded=False))
    await pause(0)
    interrupts.request()
    interrupts.enforce()

    with pytest.raises(WorkflowCancelled):
        await step


@pytest.mark.parametrize("shielded", [False, True])
async def test_the_end_of_a_pause_finds_a_cancel_that_nobody_has_noticed(
    interrupts: Interrupts, *, shielded: bool
) -> None:
    async def look() -> None:
        interrupts.request()

    async def pauses() -> str:
        await interrupts.pause("1", pause(0))

        return "tried again"

    interrupts.look = look
    step = interrupts.step("1", pauses, shielded=shielded)

    if shielded:
        assert await step == "tried again"
        return

    with pytest.raises(WorkflowCancelled):
        await step

    assert interrupts.told


async def test_a_step_that_begins_after_the_cancel_is_known_is_not_run_but_later_ones_are(
    interrupts: Interrupts, clock: Clock
) -> None:
    async def seven() -> int:
        return 7

    interrupts.request()

    with pytest.raises(WorkflowCancelled):
        await interrupts.step("1", forever, shielded=False)

    assert await interrupts.step("2", seven, shielded=False) == 7
    compensation = asyncio.ensure_future(interrupts.step("3", forever, shielded=False))
    await pause(0)
    clock.now += 1000
    assert interrupts.enforce() is None
    await pause(0)
    assert not compensation.done()
    compensation.cancel()


async def test_a_cancelled_worker_is_no_cancelled_workflow(interrupts: Interrupts) -> None:
    step = asyncio.ensure_future(interrupts.step("1", forever, shielded=False))
    await pause(0)
    interrupts.request()
    step.cancel()

    with pytest.raises(asyncio.CancelledError):
        await step


async def test_what_does_not_end_is_counted_from_its_first_interruption(interrupts: Interrupts, clock: Clock) -> None:
    stops: list[bool] = []

    async def stubborn() -> None:
        while not stops:
            try:
                await forever()
            except asyncio.CancelledError:
                continue

    step = asyncio.ensure_future(interrupts.step("1", stubborn, shielded=False))
    await pause(0)
    interrupts.request()
    clock.now += GRACE
    assert interrupts.enforce() == 0
    await pause(0)
    clock.now += 30
    assert interrupts.enforce() == 30
    assert not step.done()
    stops.append(True)
    step.cancel()
    await step


async def test_what_a_driven_coroutine_raises_and_returns_passes_through(interrupts: Interrupts) -> None:
    async def fails() -> None:
        await pause(0)
        raise KeyError("x")

    with pytest.raises(KeyError):
        await interrupts.drive(fails())
