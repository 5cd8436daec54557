"""Each task of a call's code knows which part has made it, although that has done nothing else yet."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from support.loops import NotingFactory

from orchestrator import Context, step, workflow
from orchestrator.durable.part_tasks import Part, PartTaskFactory, call_begins, part_of
from orchestrator.testing import Trial

if TYPE_CHECKING:
    from collections.abc import Iterator


class Call:
    run_at_once = False


@contextmanager
def begun() -> Iterator[Call]:
    """A function call whose task is the current one."""
    loop = asyncio.get_running_loop()
    before = loop.get_task_factory()
    call = Call()
    call_begins(call)

    try:
        yield call
    finally:
        loop.set_task_factory(before)


def own(call: Call) -> Part:
    task = asyncio.current_task()
    assert task is not None

    return part_of(task, call)


async def makers(call: Call) -> list[Part]:
    """Return what the current task is, and the parts that have made it, the nearest first."""
    part: Part | None = own(call)
    found = []

    while part is not None:
        found.append(part)
        part = part.maker

    return found


async def nested(call: Call, levels: int) -> list[Part]:
    return await asyncio.create_task(nested(call, levels - 1)) if levels else await makers(call)


async def test_a_task_knows_all_its_makers() -> None:
    with begun() as call:
        one, other = await asyncio.gather(nested(call, 2), nested(call, 0))

        assert (len(one), len(other)) == (3, 1)
        assert len({*one, *other}) == 4
        assert call.run_at_once


async def test_a_task_is_the_same_part_each_time() -> None:
    with begun() as call:

        async def twice() -> bool:
            first = own(call)
            await asyncio.sleep(0)

            return own(call) is first

        assert await asyncio.create_task(twice())


async def test_a_task_that_is_made_past_the_factory_is_a_part_of_the_nearest_one_known() -> None:
    with begun() as call:

        async def outer() -> tuple[Part, list[Part]]:
            return own(call), await asyncio.Task(makers(call))

        (known, (inner, maker)), (alone,) = await asyncio.gather(outer(), asyncio.Task(makers(call)))

        assert maker is known
        assert inner is not known
        assert alone not in {known, inner}


async def test_a_task_with_a_context_of_its_own_keeps_it() -> None:
    with begun() as call:
        context = copy_context()
        task = asyncio.get_running_loop().create_task(makers(call), context=context)

        assert len(await task) == 1
        assert task.get_context() is context


async def test_a_task_of_another_call_is_no_part_of_this_one() -> None:
    with begun() as call:
        other = Call()

        async def of_other() -> tuple[list[Part], list[Part]]:
            call_begins(other)

            return await asyncio.create_task(makers(other)), await asyncio.create_task(makers(call))

        (own_part,), (foreign,) = await asyncio.create_task(of_other())

        assert own_part.call is other
        assert foreign.call is call


async def test_a_step_or_a_wait_under_gather_is_no_function_that_runs_at_once() -> None:
    with begun() as call:

        class Single:
            def __await__(self) -> Any:
                return (yield from own_of(call).__await__())

        async def own_of(call: Call) -> Part:
            return own(call)

        part, _ = await asyncio.gather(Single(), Single())

        assert part.is_plain
        assert not call.run_at_once


async def test_the_factory_that_a_loop_had_makes_the_tasks() -> None:
    with begun() as call:
        loop = asyncio.get_running_loop()
        factory = NotingFactory()
        loop.set_task_factory(factory)
        call_begins(call)
        call_begins(call)
        current: Any = loop.get_task_factory()

        assert len(await nested(call, 2)) == 2
        assert len(factory.made) == 2
        assert isinstance(current, PartTaskFactory)
        assert current.before is factory


class Numbers(BaseModel):
    first: int
    second: int


@step
async def double(_: Context, number: int) -> int:
    return number * 2


@workflow()
async def doubling(ctx: Context, request: Numbers) -> list[int]:
    return list(await asyncio.gather(ctx.run(double, request.first), ctx.run(double, request.second)))


async def test_trials_leave_the_loop_as_it_was() -> None:
    loop = asyncio.get_running_loop()

    async def one() -> None:
        async with Trial(doubling) as trial:
            assert await (await trial.start(doubling, Numbers(first=1, second=2))).result() == [2, 4]

    for _ in range(3):
        await asyncio.gather(one(), one())

    assert loop.get_task_factory() is None
