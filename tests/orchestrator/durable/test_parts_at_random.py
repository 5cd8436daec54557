"""Workflows made at random, whose parts run at once and take any time, get their own results in every replay."""

from __future__ import annotations

import asyncio
import random
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from pydantic import BaseModel
from support.plant import pause, plant

from orchestrator import Context, group_step, open_callback, run_workflow, step, workflow
from orchestrator.runs.call_graph import walk
from orchestrator.stored_names import CALLBACK_TAG
from orchestrator.testing import Trial

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

#: The answers that all parts may await.
SHARED: Final = (901, 902, 903)
#: The steps that all parts may await.
BEGUN: Final = (951, 952)

STEPS: Final = ("stored", "shielded", "unstored", "both", "begun_before")
SINGLE: Final = (*STEPS, "call", "child", "sleep", "answer", "shared")
SEVERAL: Final = ("gather", "group", "bounded", "aside")


class Request(BaseModel):
    """What the workflow does, one thing after the other: each is a kind, and a number or what is done at once."""

    program: list[Any]


class Number(BaseModel):
    number: int


async def a_while() -> None:
    """Return some time later, another time in each replay."""
    for _ in range(random.choice((0, 0, 1, 2, 5, 40))):  # noqa: S311 - a test
        await asyncio.sleep(0)


@step(tries=1)
async def stored(_: Context, number: int) -> int:
    await a_while()

    return number


@step(stored=False)
async def unstored(_: Context, number: int) -> int:
    await a_while()

    return number


@group_step("db")
async def of_group(_: Context, number: int) -> int:
    await a_while()

    return number


@workflow()
async def child(ctx: Context, request: Number) -> Any:
    return await ctx.run(stored, request.number)


@workflow()
async def anything(ctx: Context, request: Request) -> Any:
    """Return the numbers of what was done, nested as that was, and what the parts could share."""
    answers = {number: await open_callback(ctx, f"answer-{number}") for number in SHARED}
    begun = {951: ctx.run(stored, 951), 952: ctx.run(unstored, 952)}
    done = await Doing(ctx, answers, begun).all_of(request.program)

    return [done, [await each for each in begun.values()]]


class Doing:
    """Does what a program says."""

    def __init__(self, ctx: Context, answers: dict[int, Any], begun: dict[int, Any]) -> None:
        self.ctx = ctx
        self.answers = answers
        self.begun = begun

    async def all_of(self, program: list[Any]) -> list[Any]:
        """Return the results of what is done one after the other."""
        return [await getattr(self, kind)(what) for kind, what in program]

    async def gather(self, parts: list[Any]) -> list[Any]:
        return list(await asyncio.gather(*map(self.all_of, parts)))

    async def group(self, parts: list[Any]) -> list[Any]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.all_of(part)) for part in parts]

        return [task.result() for task in tasks]

    async def bounded(self, parts: list[Any]) -> list[Any]:
        bound = asyncio.Semaphore(2)

        async def within(part: list[Any]) -> list[Any]:
            async with bound:
                return await self.all_of(part)

        return list(await asyncio.gather(*map(within, parts)))

    async def aside(self, parts: list[Any]) -> list[Any]:
        beside = asyncio.create_task(self.all_of(parts[0]))
        own = await self.all_of(parts[1])

        return [await beside, own, *await self.gather(parts[2:])]

    async def stored(self, number: int) -> Any:
        return await self.ctx.run(stored, number)

    async def shielded(self, number: int) -> Any:
        return await self.ctx.shielded.run(stored, number)

    async def unstored(self, number: int) -> Any:
        return await self.ctx.run(unstored, number)

    async def both(self, number: int) -> Any:
        return (await asyncio.gather(self.ctx.run(unstored, number), self.ctx.run(stored, 0)))[0]

    async def call(self, number: int) -> Any:
        return await self.ctx.call(of_group, number)

    async def child(self, number: int) -> Any:
        return await run_workflow(self.ctx, child, Number(number=number))

    async def sleep(self, number: int) -> Any:
        await self.ctx.sleep(timedelta(seconds=number % 7 + 1))

        return number

    async def answer(self, number: int) -> Any:
        return (await (await open_callback(self.ctx, f"answer-{number}"))).value

    async def shared(self, number: int) -> Any:
        return (await asyncio.gather(self.answers[number], self.answers[SHARED[0]]))[0].value

    async def begun_before(self, number: int) -> Any:
        return await self.begun[number]


class Maker:
    """Makes programs and their results, all of it by one seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - a test
        self.numbers = 0
        #: The answers that the program waits for.
        self.answers = set(SHARED)

    def program(self, depth: int, kinds: Sequence[str] = SINGLE) -> tuple[list[Any], list[Any]]:
        """Return a program of such kinds, and what it returns."""
        made = [self._one(depth, kinds) for _ in range(self.random.randint(1, 3))]

        return [one for one, _ in made], [result for _, result in made]

    def _one(self, depth: int, kinds: Sequence[str]) -> tuple[Any, Any]:
        if depth and self.random.random() < 0.5:
            kind = self.random.choice(SEVERAL)
            # A semaphore is shared, so its parts await only steps.
            inner = STEPS if kind == "bounded" else kinds
            parts = [self.program(depth - 1, inner) for _ in range(self.random.randint(2, 4))]

            return [kind, [part for part, _ in parts]], [result for _, result in parts]

        kind = self.random.choice(kinds)
        number = self._number(kind)

        return [kind, number], number

    def _number(self, kind: str) -> int:
        if kind in {"shared", "begun_before"}:
            return self.random.choice(SHARED if kind == "shared" else BEGUN)

        self.numbers += 1

        if kind == "answer":
            self.answers.add(self.numbers)

        return self.numbers


@pytest.mark.slow
@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.parametrize("seed", range(6))
async def test_each_part_gets_its_own_results(seed: int, everywhere: bool) -> None:  # noqa: FBT001
    maker = Maker(seed)
    made = [maker.program(2) for _ in range(3)]
    random.seed(seed)

    async with Trial(anything, child, crash_everywhere=everywhere) as trial:
        run = await trial.start(anything, Request(program=[["gather", [part for part, _ in made]]]))
        left = sorted(maker.answers)

        while await run.state() == "running":
            waits = {number: wait for number in left if (wait := await run.find_wait(f"answer-{number}")) is not None}

            if waits and maker.random.random() < 0.8:
                number = maker.random.choice(list(waits))
                left.remove(number)
                await waits[number].succeed(number)
            else:
                await trial.advance(timedelta(seconds=maker.random.choice((0.5, 1, 3))))

            assert "code was changed" not in await run.describe()

        assert await run.result() == [[[result for _, result in made]], list(BEGUN)]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 4])
async def test_each_part_gets_its_own_results_on_every_engine(tmp_path: Path, engine_url: str, seed: int) -> None:
    maker = Maker(seed)
    made = [maker.program(2, (*STEPS, "child", "answer", "shared")) for _ in range(2)]

    async with plant(tmp_path, engine_url, anything, also=[child]) as one:
        await one.start("a", program=[["gather", [part for part, _ in made]]])
        patience = time.monotonic() + 60

        while (await one.engine.promises.get(one.root("a"))).state == "pending":
            assert time.monotonic() < patience
            # The walk finds whatever is open.
            waits = [each for each in await one.steps("a") if each.state == "pending" and CALLBACK_TAG in each.tags]

            if waits:
                wait = maker.random.choice(waits)
                name = wait.tags[CALLBACK_TAG]
                await one.answer(wait.id, name.removeprefix("answer-"), name=name)

            await pause(0.05)

        assert await one.ended("a") == ("succeeded", [[[result for _, result in made]], list(BEGUN)])

        whole = [record.id for record in await one.steps("a")]
        middle = len(whole) // 2
        rest = walk(one.engine.promises, one.root("a"), after=whole[middle])
        assert [record.id async for record in rest] == whole[middle + 1 :]
