"""Workflows that wait in memory, and a worker that keeps them there."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel
from support.configuration import settings
from support.plant import PATIENCE, Plant, pause, worker

from orchestrator import Context, open_callback, step, workflow
from orchestrator.durable.first_over import first_over
from orchestrator.runs.definition import Workflow

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from orchestrator.testing.emulator.jobs_api import Emulator


class Nothing(BaseModel):
    """No input."""


#: How often the code of each workflow was called, and what it did.
CALLS: dict[str, int] = {}
DONE: list[str] = []


def called(ctx: Context) -> None:
    CALLS[ctx.info.id] = CALLS.get(ctx.info.id, 0) + 1


async def note(_: Context, what: str) -> str:
    DONE.append(what)
    return what


@workflow()
async def asks_twice(ctx: Context, _: Nothing) -> Any:
    """Do something, ask, do something, ask again, and look at the first answer once more."""
    called(ctx)
    await ctx.run(note, f"{ctx.info.id} began")
    first = await open_callback(ctx, "first")
    one = await first
    await ctx.run(note, f"{ctx.info.id} got {one.kind}")
    second = await open_callback(ctx, "second", deadline=timedelta(seconds=3))
    two = await second
    again = await first

    return [one.kind, one.value, one.by, two.kind, two.value, two.by, again == one]


@workflow(timeout=timedelta(seconds=2))
async def ends_early(ctx: Context, _: Nothing) -> None:
    """Ask for longer than the workflow may take."""
    called(ctx)
    await (await open_callback(ctx, "first"))
    DONE.append(f"{ctx.info.id} went on")
    await ctx.run(note, f"{ctx.info.id} ran")


async def rest(_: Context, seconds: float) -> None:
    await asyncio.sleep(seconds)


@workflow()
async def has_timers(ctx: Context, _: Nothing) -> Any:
    """Ask under timers that are shorter than the answer takes."""
    called(ctx)
    opened = await open_callback(ctx, "first")

    async with asyncio.timeout(0.3):
        outcome = await asyncio.wait_for(opened, 0.2)

    return outcome.kind


@workflow(timeout=timedelta(seconds=2))
async def ends_at_once(ctx: Context, _: Nothing) -> None:
    """Ask for half the time that the workflow may take."""
    called(ctx)
    await (await open_callback(ctx, "first", deadline=timedelta(seconds=1)))
    DONE.append(f"{ctx.info.id} went on")
    await ctx.run(look, f"{ctx.info.id} looked")


@step(stored=False)
async def look(_: Context, what: str) -> None:
    """Do what leaves no record."""
    DONE.append(what)


@workflow()
async def looks_again(ctx: Context, _: Nothing) -> Any:
    """Await an answer again: in parts of the code, beside a step, and after it."""
    called(ctx)
    first = await open_callback(ctx, "first")
    second = await open_callback(ctx, "second")

    async def part(number: int) -> Any:
        outcome = await first

        return await ctx.run(note, f"{ctx.info.id} {number} {outcome.value}")

    one = await first
    parts = await asyncio.gather(part(1), part(2))
    running = ctx.run(rest, 0.2)
    again = await first
    await running
    await first_over([first.future, second.future])

    return [one == again == await first, *parts, (await second).value]


@workflow()
async def ends_busy(ctx: Context, _: Nothing) -> None:
    """Ask, and be busy then until the cancel comes."""
    called(ctx)
    await (await open_callback(ctx, "first"))
    await ctx.run(rest, 60)


WORKFLOWS = (asks_twice, ends_early, ends_at_once, looks_again, has_timers, ends_busy)


@contextlib.asynccontextmanager
async def running(
    directory: Path, flow: Workflow[Any], *, cached: int = 1000, url: str = "memory://", key: str = "off"
) -> AsyncIterator[Plant]:
    """Run a worker that may keep so many workflows in memory. The first of each flow is suspended all the same."""
    chosen = settings(directory, url, CACHED_WORKFLOWS=str(cached), PAYLOAD_KEYS=key)

    async with worker(directory, chosen, WORKFLOWS) as engine:
        yield Plant(engine, chosen, flow, cast("Emulator", None))  # it runs no job


async def proven(works: Plant, *, waits: tuple[str, ...] = ("first",)) -> None:
    """Let one run be suspended at each of these waits of the workflow."""
    await works.start("0")

    for name in waits:
        await answered(works, "0", name)

    await works.end("0")


def wait_id(works: Plant, workflow_id: str, name: str) -> str:
    numbers = {"asks_twice first": "2", "asks_twice second": "4", "looks_again second": "2"}
    number = numbers.get(f"{works.workflow.name} {name}", "1")

    return f"{works.root(workflow_id)}:{number}"


async def answered(works: Plant, workflow_id: str, name: str, body: str = "1") -> None:
    """Answer this wait once its workflow waits in it."""
    promise_id = wait_id(works, workflow_id, name)
    await works.opened(promise_id)
    await at_rest(works, workflow_id)
    await works.answer(promise_id, body, name=name)


async def at_rest(works: Plant, workflow_id: str) -> str:
    """Return how the workflow waits."""
    async with asyncio.timeout(PATIENCE):
        while (way := way_of(works, workflow_id)) == "runs":
            await pause(0.01)

    return way


def way_of(works: Plant, workflow_id: str) -> str:
    cache, root_id = works.engine.cache, works.root(workflow_id)
    held = works.engine.tasks._held
    assert held is not None
    task = held(root_id)
    assert task is not None

    if task.state == "suspended":
        return "suspended"

    kept = () if cache is None else cache._kept

    return "kept" if any(each.startswith(f"{root_id}:") for each in kept) else "runs"
