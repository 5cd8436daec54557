"""Which wait of a run is meant, on every engine: the open one, unless the same request has been done before."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel
from support.plant import Plant, plant

from orchestrator import Context, open_callback, workflow
from orchestrator.by_hand.finding import UnknownCallback, find_wait

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from resonate.types import PromiseRecord

ROOT = "rounds.1"


class Rounds(BaseModel):
    """How many waits are opened under one name, one after the other, how many of them inside steps; or all at once."""

    count: int = 2
    inside: int = 0
    at_once: int = 0


@workflow()
async def rounds(ctx: Context, request: Rounds) -> list[Any]:
    """Wait several times under one name, then once under another."""
    values = list(await asyncio.gather(*(_ask(ctx) for _ in range(request.at_once))))

    for number in range(0 if request.at_once else request.count):
        if number < request.inside:
            values.append(await ctx.run(ask_inside))
        else:
            values.append((await _ask(ctx)).value)

    last = await open_callback(ctx, "last", deadline=timedelta(hours=1))

    return [*values, (await last).value]


async def _ask(ctx: Context) -> Any:
    callback = await open_callback(ctx, "review", deadline=timedelta(hours=1))

    return await callback


async def ask_inside(ctx: Context) -> Any:
    return (await _ask(ctx)).value


@pytest.fixture
async def here(tmp_path: Path, engine_url: str) -> AsyncIterator[Plant]:
    async with plant(tmp_path, engine_url, rounds) as one:
        yield one


async def found(here: Plant, callback: str = "review", **options: Any) -> str:
    return (await find_wait(here.engine.promises, ROOT, callback, **options)).record.id


async def test_of_several_rounds_the_open_one_is_meant_and_after_them_the_last(here: Plant) -> None:
    await here.start("1")
    await here.opened(f"{ROOT}:1")
    assert await found(here) == f"{ROOT}:1"

    await here.answer(f"{ROOT}:1", name="review")
    await here.opened(f"{ROOT}:2")
    assert await found(here) == f"{ROOT}:2"

    await here.answer(f"{ROOT}:2", name="review")
    await here.opened(f"{ROOT}:3")
    assert await found(here) == f"{ROOT}:2"
    assert await found(here, "last") == f"{ROOT}:3"


async def test_what_was_done_before_is_found_before_what_is_open(here: Plant) -> None:
    await here.start("1")
    await here.opened(f"{ROOT}:1")
    await here.answer(f"{ROOT}:1", name="review")
    await here.opened(f"{ROOT}:2")

    assert await found(here, is_repeat=lambda settled: settled.ikey == "a test") == f"{ROOT}:1"
    assert await found(here, is_repeat=lambda settled: settled.ikey == "another") == f"{ROOT}:2"


async def test_what_was_done_inside_of_a_step_that_is_over_is_found_before_what_is_open(here: Plant) -> None:
    await here.start("1", inside=2)
    await here.opened(f"{ROOT}:1.1")
    await here.answer(f"{ROOT}:1.1", name="review")
    await here.opened(f"{ROOT}:2.1")

    assert await found(here, is_repeat=lambda settled: settled.ikey == "a test") == f"{ROOT}:1.1"
    assert await found(here, is_repeat=lambda settled: settled.ikey == "another") == f"{ROOT}:2.1"
    assert await found(here) == f"{ROOT}:2.1"


async def test_of_several_that_are_open_the_one_that_was_opened_first_is_meant(here: Plant) -> None:
    await here.start("1", at_once=3)

    for number in (1, 2, 3):
        await here.opened(f"{ROOT}:{number}")

    assert await found(here) == f"{ROOT}:1"
    await here.answer(f"{ROOT}:1", name="review")
    await here.answer(f"{ROOT}:3", name="review")
    assert await found(here) == f"{ROOT}:2"


async def test_one_that_is_named_is_meant_and_no_other(here: Plant) -> None:
    await here.start("1")
    await here.opened(f"{ROOT}:1")
    await here.answer(f"{ROOT}:1", name="review")
    await here.opened(f"{ROOT}:2")

    assert await found(here, step=f"{ROOT}:1") == f"{ROOT}:1"

    with pytest.raises(UnknownCallback):
        await found(here, step=f"{ROOT}:3")


async def test_one_that_is_named_takes_no_read_below_steps_that_are_over(
    here: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    await here.start("1", inside=2)
    await here.opened(f"{ROOT}:1.1")
    await here.answer(f"{ROOT}:1.1", name="review")
    await here.opened(f"{ROOT}:2.1")
    get, read = here.engine.promises.get, []

    async def noticed(promise_id: str) -> PromiseRecord:
        read.append(promise_id)

        return await get(promise_id)

    monkeypatch.setattr(here.engine.promises, "get", noticed)

    assert await found(here, step=f"{ROOT}:2.1", is_repeat=lambda _: True) == f"{ROOT}:2.1"
    assert f"{ROOT}:1.1" not in read


async def test_waits_inside_of_steps_are_found_while_they_are_open_and_afterwards(here: Plant) -> None:
    await here.start("1", count=1, inside=1)
    await here.opened(f"{ROOT}:1.1")
    assert await found(here) == f"{ROOT}:1.1"

    await here.answer(f"{ROOT}:1.1", name="review")
    await here.opened(f"{ROOT}:2")
    assert await found(here) == f"{ROOT}:1.1"


async def test_a_name_that_was_never_opened_is_said_to_be_unknown(here: Plant) -> None:
    await here.start("1")
    await here.opened(f"{ROOT}:1")

    for callback in ("last", "nothing"):
        with pytest.raises(UnknownCallback):
            await found(here, callback)
