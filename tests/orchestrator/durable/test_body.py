"""Running a workflow's code: what it may await. Whole workflows are in tests/orchestrator/test_authors_mistakes.py."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from typing import Any

import anyio
import pytest
from resonate.error import Suspended
from support.plant import PATIENCE

from orchestrator.durable.body import Body
from orchestrator.durable.under_way import UnderWay
from orchestrator.errors import Misused


async def run(code: Any, under_way: UnderWay | None = None) -> Any:
    return await Body(code, under_way if under_way is not None else UnderWay())


async def test_code_that_awaits_nothing_returns_its_result_or_raises_its_error() -> None:
    async def gives() -> int:
        await asyncio.sleep(0)
        return 7

    async def fails() -> int:
        raise KeyError("k")

    assert await run(gives()) == 7

    with pytest.raises(KeyError, match="k"):
        await run(fails())


async def test_code_may_await_anything_while_a_step_is_under_way() -> None:
    under_way, step, other = UnderWay(), asyncio.Event(), asyncio.Event()

    async def code() -> str:
        await other.wait()
        return "done"

    under_way.add(asyncio.ensure_future(step.wait()))
    body = asyncio.ensure_future(run(code(), under_way))

    for _ in range(200):
        await asyncio.sleep(0)

    assert not body.done()

    other.set()

    assert await body == "done"

    step.set()


async def test_code_that_goes_on_waiting_when_the_last_step_is_over_is_at_fault() -> None:
    under_way, step = UnderWay(), asyncio.Event()

    async def code() -> None:
        await asyncio.get_running_loop().create_future()

    under_way.add(asyncio.ensure_future(step.wait()))
    body = asyncio.ensure_future(run(code(), under_way))
    await asyncio.sleep(0)
    step.set()

    with pytest.raises(Misused, match="neither a step nor a wait of ctx"):
        await body


async def test_what_the_code_waited_for_in_vain_is_cancelled() -> None:
    never = asyncio.get_running_loop().create_future()

    async def code() -> None:
        await never

    with pytest.raises(Misused):
        await run(code())

    assert never.cancelled()


async def test_stopping_the_worker_stops_the_code_even_if_it_catches_that() -> None:
    begun = asyncio.Event()

    async def code() -> str:
        begun.set()

        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            return "went on"

        return ""

    under_way = UnderWay()
    under_way.add(asyncio.get_running_loop().create_future())
    body = asyncio.ensure_future(run(code(), under_way))
    await begun.wait()
    body.cancel()

    with pytest.raises(asyncio.CancelledError):
        await body


@pytest.mark.parametrize("inside", [False, True])
async def test_a_task_group_whose_task_fails_ends_the_code_with_that_error_alone(*, inside: bool) -> None:
    async def code() -> str:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fails())
                group.create_task(stops_slowly())

                if inside:
                    await under_way_for_good

        except ExceptionGroup as errors:
            return str(errors.exceptions)

        return ""

    under_way, under_way_for_good = UnderWay(), asyncio.get_running_loop().create_future()
    under_way.add(under_way_for_good)

    assert await run(code(), under_way) == "(KeyError('k'),)"


@pytest.mark.parametrize("goes_on", [False, True])
async def test_a_timeout_of_the_codes_own_is_at_fault_also_inside_of_a_task_group(*, goes_on: bool) -> None:
    under_way, for_good = UnderWay(), asyncio.get_running_loop().create_future()
    under_way.add(for_good)

    async def code() -> None:
        async with asyncio.TaskGroup() as _group:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0):
                    await asyncio.shield(for_good)

            if goes_on:
                await asyncio.shield(for_good)

    with pytest.raises(Misused, match="caught or raised a CancelledError"):
        await run(code(), under_way)


async def test_stopping_the_worker_stops_code_whose_task_group_is_ending() -> None:
    stopping = asyncio.Event()

    async def code() -> str:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())
            group.create_task(stops_slowly(stopping))

        return ""

    under_way = UnderWay()
    under_way.add(asyncio.get_running_loop().create_future())
    body = asyncio.ensure_future(run(code(), under_way))
    await stopping.wait()
    body.cancel()

    with pytest.raises(asyncio.CancelledError):
        await body


async def fails() -> None:
    raise KeyError("k")


async def stops_slowly(stopping: asyncio.Event | None = None) -> None:
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        if stopping is not None:
            stopping.set()

        for _ in range(5):
            await asyncio.sleep(0)


async def test_code_that_keeps_the_signal_that_suspends_it_is_ended_when_it_waits_again() -> None:
    under_way, for_good = UnderWay(), asyncio.get_running_loop().create_future()
    under_way.add(for_good)
    wait: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(wait.set_exception, Suspended())
    closed = []

    async def code() -> None:
        try:
            with contextlib.suppress(Suspended):
                await wait

            await for_good
        finally:
            closed.append(True)

    with anyio.move_on_after(PATIENCE) as waiting, pytest.raises(Misused, match="caught the signal that suspends it"):
        await run(code(), under_way)

    assert not waiting.cancel_called

    assert closed == [True]


@pytest.mark.parametrize("error", [ValueError("no"), BaseExceptionGroup("no", [GeneratorExit()])])
async def test_what_code_raises_when_it_is_ended_does_not_take_the_place_of_its_fault(error: BaseException) -> None:
    async def code() -> None:
        try:
            with contextlib.suppress(Misused):
                await asyncio.get_running_loop().create_future()

            await asyncio.get_running_loop().create_future()
        finally:
            raise error

    with pytest.raises(Misused, match="neither a step nor a wait of ctx"):
        await run(code())


async def test_code_that_collects_errors_is_suspended_all_the_same() -> None:
    async def wait() -> None:
        raise Suspended

    async def code() -> Any:
        return await asyncio.gather(wait(), return_exceptions=True)

    with pytest.raises(Suspended):
        await run(code())


async def test_what_code_awaited_when_it_was_cancelled_is_not_reported_by_the_loop() -> None:
    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
    under_way = UnderWay()
    step: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    under_way.add(step)
    body = asyncio.ensure_future(run(gathers(step), under_way))
    await asyncio.sleep(0.01)
    body.cancel()

    with pytest.raises(asyncio.CancelledError):
        await body

    step.set_exception(KeyError("k"))
    del step, body
    await asyncio.sleep(0.01)
    gc.collect()

    assert reports == []


async def gathers(step: asyncio.Future[None]) -> None:
    await asyncio.gather(step)
