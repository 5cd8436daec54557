"""What counts as waiting inside of a trial, and what as going on. This pins what asyncio does not promise."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import anyio.to_thread
import pytest

from orchestrator.durable.under_way import UnderWay
from orchestrator.testing.trial.at_rest import busy_task
from orchestrator.testing.trial.hand_clock import HandClock


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def running(*works: Any) -> AsyncIterator[list[asyncio.Task[Any]]]:
    before = asyncio.all_tasks()
    tasks = [asyncio.ensure_future(work) for work in works]
    await turns()

    try:
        yield [*(asyncio.all_tasks() - before)]
    finally:
        for task in tasks:
            task.cancel()

        await asyncio.gather(*tasks, return_exceptions=True)


def busy(tasks: list[asyncio.Task[Any]], clock: HandClock | None = None) -> bool:
    is_nap = HandClock(0).is_nap if clock is None else clock.is_nap

    return busy_task(tasks, is_nap, ours=lambda _: False) is not None


async def forever() -> None:
    await asyncio.Event().wait()


async def locked() -> None:
    lock = asyncio.Lock()
    await lock.acquire()
    await lock.acquire()


async def queued() -> None:
    await asyncio.Queue[int]().get()


async def several() -> None:
    await asyncio.wait({asyncio.ensure_future(forever()), asyncio.ensure_future(forever())})


async def gathered() -> None:
    await asyncio.gather(forever(), forever())


async def grouped() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(forever())


async def grouped_by_anyio() -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(forever)


async def shielded() -> None:
    await asyncio.shield(asyncio.ensure_future(forever()))


class Awaitable_:  # noqa: N801 - only here
    def __await__(self) -> Any:
        return (yield from asyncio.ensure_future(forever()).__await__())


async def through_a_generator() -> None:
    await Awaitable_()


@pytest.mark.parametrize(
    "work",
    [forever, locked, queued, several, gathered, grouped, grouped_by_anyio, through_a_generator],
)
async def test_waiting_for_another_task_is_rest(work: Callable[[], Awaitable[None]]) -> None:
    async with running(work()) as tasks:
        assert not busy(tasks)


async def test_what_is_held_until_nothing_else_is_under_way_rests_only_as_long_as_something_is() -> None:
    under_way = UnderWay()
    step: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    under_way.add(step)

    async with running(under_way.nothing_else()) as tasks:
        assert not busy(tasks)
        step.set_result(None)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert busy(tasks)


async def sleeping() -> None:
    await asyncio.sleep(3600)


async def in_a_thread() -> None:
    await asyncio.to_thread(lambda: asyncio.run(asyncio.sleep(0.05)))


async def in_a_thread_of_anyio() -> None:
    await anyio.to_thread.run_sync(lambda: asyncio.run(asyncio.sleep(0.05)))


async def for_a_future() -> None:
    await asyncio.get_running_loop().create_future()


async def within_a_gather() -> None:
    await asyncio.gather(forever(), sleeping())


@pytest.mark.parametrize("work", [sleeping, in_a_thread, in_a_thread_of_anyio, for_a_future, within_a_gather])
async def test_waiting_for_something_outside_is_not(work: Callable[[], Awaitable[None]]) -> None:
    async with running(work()) as tasks:
        assert busy(tasks)


async def test_a_task_that_can_run_is_busy() -> None:
    async def spinning() -> None:
        while True:  # noqa: ASYNC110 - it never waits
            await asyncio.sleep(0)

    event = asyncio.Event()

    async with running(spinning()) as tasks:
        assert busy(tasks)

    async with running(event.wait()) as tasks:
        assert not busy(tasks)
        event.set()
        assert busy(tasks)


async def test_a_sleep_on_the_trials_clock_is_rest_until_it_is_over() -> None:
    clock = HandClock(0)

    async with running(clock.sleep(10)) as tasks:
        assert not busy(tasks, clock)
        clock.move(10_000)
        assert busy(tasks, clock)


async def test_a_timer_that_goes_off_by_itself_is_busy_if_it_is_theirs() -> None:
    async def impatient() -> None:
        async with asyncio.timeout(3600):
            await forever()

    async with running(impatient()) as tasks:
        assert busy_task(tasks, HandClock(0).is_nap, ours=lambda _: False) is None
        assert busy_task(tasks, HandClock(0).is_nap, ours=lambda _: True) is not None
