"""Parts of a workflow's code that run at once: each gets what it has on record, whoever was faster this time.

Long because each way in which a part may begin has a workflow of its own here.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel
from support.plant import pause, plant

from orchestrator import Context, WorkflowCancelled, open_callback, step, workflow
from orchestrator.durable.parts import BELOW, Parts, depth_of, is_of_part, marker_of, order_of
from orchestrator.runs import start
from orchestrator.runs.cancellation import request_cancel
from orchestrator.testing import Trial

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.testing.trial.runs import Run


class Request(BaseModel):
    """How many parts run at once."""

    parts: int = 2


@step(tries=1)
async def fetch(_ctx: Context, number: int, *, slow: bool = False) -> int:
    """Return the number, some time later if it is `slow`."""
    await asyncio.sleep(0.05 * slow)

    return number


@step(stored=False)
async def look(_ctx: Context, number: int) -> int:
    """Return the number: the first time the higher ones come first, and later the lower ones do."""
    await asyncio.sleep(0.05 * (number % 4 if number in LOOKED else 4 - number))
    LOOKED.add(number)

    return number


LOOKED: set[int] = set()


@step(tries=1)
async def save(_ctx: Context, number: int, value: object) -> str:
    """Return what was saved."""
    return f"{number}: {value}"


@workflow()
async def answered(ctx: Context, request: Request) -> Any:
    """Save each answer as it comes."""

    async def part(number: int) -> Any:
        answer = await open_callback(ctx, f"answer-{number}")

        return await ctx.run(save, number, (await answer).value)

    return await asyncio.gather(*(part(number) for number in range(1, request.parts + 1)))


@workflow()
async def opened_before(ctx: Context, request: Request) -> Any:
    """Save each answer as it comes, to waits that were opened before; other parts await these too."""
    answers = [await open_callback(ctx, f"answer-{number}") for number in range(1, request.parts + 1)]

    async def part(number: int) -> Any:
        return await ctx.run(save, number, (await answers[number - 1]).value)

    async def only_awaits(number: int) -> object:
        return (await answers[number]).value

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(part(number)) for number in range(1, request.parts + 1)]
        group.create_task(only_awaits(0))

    return [task.result() for task in tasks]


@workflow()
async def shared(ctx: Context, request: Request) -> Any:
    """Save in several parts that await the same answers, of which some await a second one first."""
    answers = [await open_callback(ctx, f"answer-{number}") for number in range(1, request.parts + 1)]

    async def part(number: int, *awaited: int) -> Any:
        for each in awaited:
            await answers[each - 1]

        return await ctx.run(save, number, await ctx.run(fetch, number))

    return await asyncio.gather(part(1, 1), part(2, 1, 3), part(3, 2), part(4, 1, 2), part(5, 2), part(6, 1))


@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.parametrize("order", [(1, 2, 3), (2, 3, 1), (3, 2, 1), (2, 1, 3)])
async def test_parts_that_await_the_same_wait_first_get_their_own_results(
    order: tuple[int, ...],
    everywhere: bool,  # noqa: FBT001
) -> None:
    async with Trial(shared, crash_everywhere=everywhere) as trial:
        run = await trial.start(shared, Request(parts=3))

        for number in order:
            await (await run.waiting(f"answer-{number}")).succeed(number)

        assert await run.result() == [f"{number}: {number}" for number in range(1, 7)]


@workflow()
async def nested(ctx: Context, request: Request) -> Any:
    """Save each answer as it comes, in a part of a part that has done something before."""

    async def part(number: int) -> Any:
        await ctx.run(fetch, number, slow=number == 1)

        async def inner() -> Any:
            return await ctx.run(save, number, (await (await open_callback(ctx, f"answer-{number}"))).value)

        saved, _ = await asyncio.gather(inner(), ctx.run(fetch, number))

        return saved

    return await asyncio.gather(*(part(number) for number in range(1, request.parts + 1)))


@pytest.mark.parametrize("flow", [answered, opened_before, nested])
@pytest.mark.parametrize("everywhere", [False, True])
async def test_each_part_gets_its_own_answer_in_whichever_order_they_come(
    flow: Any,
    everywhere: bool,  # noqa: FBT001
) -> None:
    async with Trial(flow, crash_everywhere=everywhere) as trial:
        run = await trial.start(flow, Request(parts=3))

        for number in (2, 3, 1):
            await (await run.waiting(f"answer-{number}")).succeed(number)

        assert await run.result() == ["1: 1", "2: 2", "3: 3"]


@workflow()
async def parts_first(ctx: Context, request: Request) -> Any:
    """Make parts in each part before it does anything itself, and let the second part come first."""

    async def napping(hours: int) -> None:
        await ctx.sleep(timedelta(hours=hours))

    async def saving(number: int) -> Any:
        return await ctx.run(save, number, number)

    async def first() -> Any:
        await asyncio.gather(napping(2 * request.parts))

        return await ctx.run(save, 1, 1)

    async def second() -> Any:
        await asyncio.gather(napping(request.parts))

        return await asyncio.gather(saving(2))

    return await asyncio.gather(first(), second())


@pytest.mark.parametrize("everywhere", [False, True])
async def test_parts_that_make_parts_first_get_their_own_results(everywhere: bool) -> None:  # noqa: FBT001
    async with Trial(parts_first, crash_everywhere=everywhere) as trial:
        run = await trial.start(parts_first, Request())

        for _ in range(3):
            await trial.advance(timedelta(hours=2))

        assert await run.result() == ["1: 1", ["2: 2"]]


@workflow()
async def paced(ctx: Context, request: Request) -> Any:
    """Run two steps in each part, the first part being the slowest, and sleep: a replay finds all of them over."""

    async def part(number: int) -> Any:
        return await ctx.run(save, number, await ctx.run(fetch, number, slow=number == 1))

    saved = await asyncio.gather(*(part(number) for number in range(1, request.parts + 1)))
    await ctx.sleep(timedelta(seconds=1))

    return saved


@workflow()
async def looking(ctx: Context, request: Request) -> Any:
    """Begin each part with a step that is not recorded."""

    async def part(number: int) -> Any:
        return await ctx.run(save, number, await ctx.run(look, number))

    saved = await asyncio.gather(*(part(number) for number in range(1, request.parts + 1)))
    await ctx.sleep(timedelta(seconds=1))

    return saved


@pytest.mark.parametrize("flow", [paced, looking])
async def test_how_long_the_steps_take_does_not_change_what_a_replay_gets(flow: Any) -> None:
    LOOKED.clear()

    async with Trial(flow) as trial:
        run = await trial.start(flow, Request(parts=3))
        await trial.advance(timedelta(seconds=2))

        assert await run.result() == ["1: 1", "2: 2", "3: 3"]


async def test_each_part_gets_its_own_answer_on_every_engine(tmp_path: Path, engine_url: str) -> None:
    async with plant(tmp_path, engine_url, opened_before) as one:
        await one.start("a", parts=2)

        for number in (2, 1):
            await one.opened(f"opened_before.a:{number}")
            await one.answer(f"opened_before.a:{number}", json.dumps(number), name=f"answer-{number}")
            await pause(0.3)

        assert await one.ended("a") == ("succeeded", ["1: 1", "2: 2"])
        assert [record.id.partition(":")[2] for record in await one.steps("a")] == ["1", "2", "3.0.1", "4.0.1"]


@workflow()
async def reopening(ctx: Context, request: Request) -> Any:
    """Open a second wait in each part."""

    async def part(number: int) -> Any:
        await (await open_callback(ctx, f"first-{number}"))

        return (await (await open_callback(ctx, f"second-{number}"))).kind

    return await asyncio.gather(*(part(number) for number in range(1, request.parts + 1)))


async def test_a_cancel_finds_what_a_part_waits_for(tmp_path: Path, engine_url: str) -> None:
    async with plant(tmp_path, engine_url, reopening) as one:
        await one.start("a")

        for number in (2, 1):
            await one.opened(f"reopening.a:{number}")
            await one.answer(f"reopening.a:{number}", name=f"first-{number}")
            await one.opened(f"reopening.a:{number}.0.1")

        await request_cancel(one.engine, "reopening.a")
        state, _ = await one.ended("a")

        assert state == "cancelled"
        assert {record.state for record in await one.steps("a")} == {"resolved"}


@workflow()
async def only_looking(ctx: Context, request: Request) -> Any:
    """Run parts that record nothing, and then open a wait, in the code and in a part of a part."""

    async def part(number: int) -> Any:
        return await ctx.run(look, number)

    async def waiting() -> str:
        await ctx.run(fetch, 1)
        await asyncio.gather(*(part(number) for number in range(request.parts)))

        return (await (await open_callback(ctx, "inner"))).kind

    await asyncio.gather(*(part(number) for number in range(request.parts)))
    outer = await open_callback(ctx, "outer")

    return [(await outer).kind, *await asyncio.gather(waiting())]


async def test_a_wait_is_found_behind_many_parts_that_record_nothing() -> None:
    async with Trial(only_looking) as trial:
        LOOKED.update(range(40))
        run = await trial.start(only_looking, Request(parts=2))
        await (await run.waiting("outer")).succeed(1)
        await (await run.waiting("inner")).succeed(1)

        assert await run.result() == ["succeeded", "succeeded"]
        assert await numbers(run) == ["3", "4", "4.0.3"]

        many = await trial.start(only_looking, Request(parts=20))
        await many.waiting("outer")
        await many.cancel()
        await trial.advance(timedelta(minutes=5))

        with pytest.raises(WorkflowCancelled):
            await many.result()


async def test_a_run_that_an_earlier_release_started_goes_on_as_it_is_numbered(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Trial(paced) as trial:
        with monkeypatch.context() as earlier:
            earlier.setattr(start, "_NUMBERED", None)
            run = await trial.start(paced, Request(parts=1))

        await trial.advance(timedelta(seconds=2))

        assert await run.result() == ["1: 1"]
        assert await numbers(run) == ["1", "2", "3"]


async def numbers(run: Run) -> list[str]:
    return [each.id.partition(":")[2] for each in await run.steps()]


# The rule itself


class Numbers:
    """The numbers of a function call, as the SDK counts them."""

    def __init__(self) -> None:
        self.last = 0

    def __call__(self) -> str:
        self.last += 1

        return f"r:{self.last}"


async def both(*parts: Coroutine[Any, Any, Any]) -> list[Any]:
    return await asyncio.gather(*parts)


async def test_what_the_calls_own_task_begins_is_numbered_as_ever() -> None:
    parts, following = Parts(), Numbers()
    parts.keep_place(following)

    assert [parts.place(following) for _ in range(3)] == ["r:1", "r:2", "r:3"]
    assert parts.take_kept() == ()


async def test_a_part_is_numbered_below_what_it_began_first() -> None:
    parts, following = Parts(), Numbers()

    async def begins() -> list[str]:
        return [parts.place(following) for _ in range(3)]

    assert await both(begins(), begins()) == [["r:1", "r:1.0.1", "r:1.0.2"], ["r:2", "r:2.0.1", "r:2.0.2"]]
    assert parts.take_kept() == ()


async def test_a_part_that_first_does_something_else_keeps_a_place() -> None:
    parts, following = Parts(), Numbers()

    async def part(turns: int) -> list[str]:
        parts.keep_place(following)

        for _ in range(turns):
            await asyncio.sleep(0)

        parts.keep_place(following)

        return [parts.place(following) for _ in range(2)]

    assert await both(part(3), part(0)) == [["r:1.0.1", "r:1.0.2"], ["r:2.0.1", "r:2.0.2"]]
    assert parts.take_kept() == ["r:1", "r:2"]
    assert parts.take_kept() == ()


async def test_a_part_of_a_part_is_numbered_with_what_that_begins() -> None:
    parts, following = Parts(), Numbers()

    async def inner() -> list[str]:
        return [parts.place(following) for _ in range(2)]

    async def outer() -> Any:
        return [parts.place(following), *await both(inner(), inner()), parts.place(following)]

    assert await both(outer()) == [
        ["r:1", ["r:1.0.1", "r:1.0.1.0.1"], ["r:1.0.2", "r:1.0.2.0.1"], "r:1.0.3"],
    ]


@pytest.mark.parametrize("turns", [(0, 5), (5, 0)])
async def test_a_part_that_has_made_parts_before_anything_else_keeps_a_place(turns: tuple[int, int]) -> None:
    parts, following = Parts(), Numbers()

    async def inner(turns: int) -> list[str]:
        first = parts.place(following)

        for _ in range(turns):
            await asyncio.sleep(0)

        return [first, parts.place(following)]

    async def outer(turns: int) -> Any:
        return [*await both(inner(turns), inner(0)), parts.place(following)]

    assert await both(outer(turns[0]), outer(turns[1])) == [
        [["r:1.0.1", "r:1.0.1.0.1"], ["r:1.0.2", "r:1.0.2.0.1"], "r:1.0.3"],
        [["r:2.0.1", "r:2.0.1.0.1"], ["r:2.0.2", "r:2.0.2.0.1"], "r:2.0.3"],
    ]
    assert parts.take_kept() == ["r:1", "r:2"]


async def test_what_is_awaited_by_gather_itself_counts_for_the_part_that_calls_it() -> None:
    parts, following = Parts(), Numbers()

    class Awaitable:
        def __await__(self) -> Any:
            parts.keep_place(following)
            yield from asyncio.sleep(0).__await__()

    async def part() -> str:
        await asyncio.gather(Awaitable(), Awaitable())

        return parts.place(following)

    assert await both(part(), part()) == ["r:1.0.1", "r:2.0.1"]
    await asyncio.gather(Awaitable(), Awaitable())
    assert parts.place(following) == "r:3"


def test_ids_of_parts_are_known_by_a_number_that_nothing_else_has() -> None:
    assert [is_of_part(each) for each in ("r.0.1", "r.0.1:1", "r:1.10.1", "r:1.0.1", "r:1.0.1.2")] == [
        *(False, False, False),
        *(True, True),
    ]
    assert marker_of("r.0.1") == f"r.0.1:{BELOW}"
    assert sorted(["r:10", "r:2", "r:2.1", "r:2.0.1"], key=order_of) == ["r:2", "r:2.0.1", "r:2.1", "r:10"]


@pytest.mark.parametrize(
    ("promise_id", "depth"),
    [("w.1:2", 0), ("w.1:2.3", 1), ("w.1:2.0.1", 0), ("w.1:2.0.1.0.3", 0), ("w.1:2.0.10.3", 1), ("w.1:10.20.30", 2)],
)
def test_what_a_part_has_begun_after_something_else_is_beside_that(promise_id: str, depth: int) -> None:
    assert depth_of(promise_id) == depth
