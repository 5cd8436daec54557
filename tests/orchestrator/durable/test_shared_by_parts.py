"""Parts of a workflow that run at once and share something: in a replay, the steps end for them in the same order."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel
from support.plant import pause, plant

from orchestrator import Context, step, workflow
from orchestrator.testing import Trial

if TYPE_CHECKING:
    from pathlib import Path


class Request(BaseModel):
    """The items, each with the seconds that it takes."""

    items: list[tuple[int, float]] = [(1, 0.15), (2, 0.02), (3, 0.02), (4, 0)]


DONE: list[int] = []


@step(tries=1)
async def work(_ctx: Context, item: int, seconds: float) -> int:
    """Return the item some time later."""
    await pause(seconds)
    DONE.append(item)

    return item


@step(tries=1)
async def save(_ctx: Context, item: int) -> str:
    """Return what was saved."""
    return f"saved {item}"


@workflow()
async def pool(ctx: Context, request: Request) -> Any:
    """Let two workers take the items, and sleep: a replay finds all of them over."""
    items, done = iter(request.items), {}

    async def worker() -> None:
        for item, seconds in items:
            done[item] = await ctx.run(save, await ctx.run(work, item, seconds))

    await asyncio.gather(worker(), worker())
    await ctx.sleep(timedelta(seconds=0.2))

    return [done[item] for item, _ in request.items]


@workflow()
async def as_they_come(ctx: Context, request: Request) -> Any:
    """Save each item as soon as it is there."""
    done = []

    for each in asyncio.as_completed([ctx.run(work, item, seconds) for item, seconds in request.items[:2]]):
        item = await each
        done.append((item, await ctx.run(save, item)))

    await ctx.sleep(timedelta(seconds=0.2))

    return [saved for _, saved in sorted(done)]


@workflow()
async def fastest(ctx: Context, request: Request) -> Any:
    """Save the item that was there first."""

    async def one(item: int, seconds: float) -> Any:
        return await ctx.run(work, item, seconds)

    tasks = [asyncio.create_task(one(*each)) for each in request.items[:2]]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    first = min(task.result() for task in done)
    saved = await ctx.run(save, first)
    await asyncio.wait(tasks)
    await ctx.sleep(timedelta(seconds=0.2))

    return [saved, f"saved {first}"]


@workflow()
async def beside_its_own(ctx: Context, request: Request) -> Any:
    """Count in the workflow's own code and in a task beside it."""
    seen = []

    async def one(item: int, seconds: float) -> None:
        seen.append(await ctx.run(work, item, seconds))

    task = asyncio.create_task(one(*request.items[0]))
    seen.append(await ctx.run(work, *request.items[1]))
    saved = await ctx.run(save, seen[0])
    await task
    await ctx.sleep(timedelta(seconds=0.2))

    return [saved, f"saved {seen[0]}"]


EXPECTED = {
    pool: ["saved 1", "saved 2", "saved 3", "saved 4"],
    as_they_come: ["saved 1", "saved 2"],
    fastest: ["saved 2", "saved 2"],
    beside_its_own: ["saved 2", "saved 2"],
}


@pytest.mark.parametrize("flow", EXPECTED)
async def test_what_came_first_comes_first_in_a_replay(flow: Any) -> None:
    DONE.clear()

    async with Trial(flow) as trial:
        run = await trial.start(flow, Request())
        await trial.advance(timedelta(seconds=1))

        assert await run.result() == EXPECTED[flow]
        assert sorted(DONE) == sorted({*DONE})


@pytest.mark.parametrize("flow", [pool, as_they_come])
async def test_it_does_after_a_crash_anywhere(flow: Any) -> None:
    async with Trial(flow, crash_everywhere=True) as trial:
        run = await trial.start(flow, Request())
        await trial.advance(timedelta(seconds=1))

        assert await run.result() == EXPECTED[flow]


async def test_it_does_on_every_engine(tmp_path: Path, engine_url: str) -> None:
    DONE.clear()
    items = [(1, 0.3), *((number, 0.0) for number in range(2, 20))]

    async with plant(tmp_path, engine_url, pool) as one:
        await one.start("a", items=items)

        assert await one.ended("a") == ("succeeded", [f"saved {number}" for number, _ in items])
        assert sorted(DONE) == [number for number, _ in items]
