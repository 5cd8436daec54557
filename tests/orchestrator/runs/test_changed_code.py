"""A deploy while workflows are open: what no longer fits the record waits for code that does, on every engine."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel
from support.plant import pause, plant

from orchestrator import Context, WorkflowFailed, group_step, open_callback, step, workflow
from orchestrator.durable.try_records import read_tries
from orchestrator.errors import UnknownPromise
from orchestrator.runs.cancellation import request_cancel
from orchestrator.runs.roots import view_root

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from support.plant import Plant

    from orchestrator.runs.definition import Workflow

TOLD = 'step 1 is recorded as "charge", the code now calls "validate"'


BANK = 'step 2 is recorded as the callback "bank", the code now calls '


class Nothing(BaseModel):
    """No input."""


async def charge(ctx: Context) -> str:
    return "charged"


async def validate(ctx: Context) -> str:
    return "validated"


@step(name="charge")
async def collect(ctx: Context) -> str:
    return "collected"


@group_step("other")
async def look_up(ctx: Context) -> int:
    return 7


def flow(body: Callable[[Context], Awaitable[Any]], **fields: Any) -> Workflow[Nothing]:
    @workflow(name="order", **fields)
    async def order(ctx: Context, request: Nothing) -> Any:
        return await body(ctx)

    return order


async def answered(ctx: Context, *before: Any, name: str = "bank") -> Any:
    """Run steps, wait for the bank, and return what they gave."""
    found = [await ctx.run(each) for each in before]
    outcome = await (await open_callback(ctx, name, deadline=timedelta(hours=1)))

    return [*found, outcome.value]


async def told(works: Plant) -> str:
    """Return why the workflow cannot go on, once that is on record."""
    root = await works.engine.promises.get("order.a")

    for _ in range(1500):
        if kept := await read_tries(works.engine.promises, root):
            return kept[-1].error

        await pause(0.02)

    raise TimeoutError


async def begun(works: Plant, number: int = 2) -> None:
    await works.start("a")
    await works.opened(f"order.a:{number}")


async def test_a_workflow_whose_code_was_changed_waits_and_goes_on_under_code_that_fits(
    tmp_path: Path, engine_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    if engine_url == "memory://":
        pytest.skip("what it holds ends with the process")

    old, changed = flow(charged), flow(lambda ctx: answered(ctx, validate))

    async with plant(tmp_path, engine_url, old) as works:
        await begun(works)

    async with plant(tmp_path, engine_url, changed) as works:
        await works.answer("order.a:2", "7", name="bank")

        assert await told(works) == TOLD
        assert view_root(await works.engine.promises.get("order.a")).state == "running"
        assert f"workflow order.a cannot go on: {TOLD}; it is not over: the next try is in 1 s, at 2" in caplog.text

    async with plant(tmp_path, engine_url, old) as works:
        assert await works.ended("a") == ("succeeded", ["charged", 7])


async def test_a_workflow_that_cannot_go_on_is_ended_by_a_cancel(tmp_path: Path, engine_url: str) -> None:
    if engine_url == "memory://":
        pytest.skip("what it holds ends with the process")

    async with plant(tmp_path, engine_url, flow(charged)) as works:
        await begun(works)

    async with plant(tmp_path, engine_url, flow(lambda ctx: answered(ctx, validate))) as works:
        await works.answer("order.a:2", "7", name="bank")
        await told(works)

        assert await request_cancel(works.engine, "order.a")
        assert await works.ended("a") == (
            "cancelled",
            {"message": f"the workflow was cancelled, and its code did not compensate: {TOLD}"},
        )


async def charged(ctx: Context) -> Any:
    return await answered(ctx, charge)


async def other_callback(ctx: Context) -> Any:
    return await answered(ctx, charge, name="post")


async def sleeps(ctx: Context) -> None:
    await ctx.run(charge)
    await ctx.sleep(timedelta(hours=1))


async def asks_a_group(ctx: Context) -> None:
    await ctx.run(charge)
    await ctx.call(look_up)


async def catches(ctx: Context) -> Any:
    try:
        await ctx.run(validate)
    except Exception:  # noqa: BLE001 - a mistake on purpose
        return "went on"


async def raises_another(ctx: Context) -> Any:
    try:
        await ctx.run(validate)
    except Exception as error:
        raise WorkflowFailed("gave up") from error


async def awaits_nothing(ctx: Context) -> Any:
    _ = ctx.run(validate)
    return "went on"


async def nested(ctx: Context) -> Any:
    @step(name="charge")
    async def outer(inner: Context) -> Any:
        try:
            return await inner.run(validate)
        except Exception:  # noqa: BLE001 - a mistake on purpose
            return "went on"

    return await ctx.run(outer)


async def inner_charge(ctx: Context) -> Any:
    @step(name="charge")
    async def outer(inner: Context) -> Any:
        await inner.run(charge)
        await (await open_callback(inner, "bank"))

    return await ctx.run(outer)


@pytest.mark.parametrize(
    ("old", "waits", "changed", "text"),
    [
        (charged, 2, other_callback, f'{BANK}the callback "post"'),
        (charged, 2, sleeps, f"{BANK}a sleep"),
        (charged, 2, asks_a_group, f'{BANK}"look_up" in another group or workflow'),
        (charged, 2, catches, TOLD),
        (charged, 2, raises_another, TOLD),
        (charged, 2, awaits_nothing, TOLD),
        (answered, 1, charged, 'step 1 is recorded as the callback "bank", the code now calls "charge"'),
    ],
)
async def test_every_change_is_noticed_whatever_the_code_does_about_it(
    tmp_path: Path, old: Any, waits: int, changed: Any, text: str
) -> None:
    url = f"sqlite:///{tmp_path}/engine.db"

    async with plant(tmp_path, url, flow(old)) as works:
        await begun(works, waits)

    async with plant(tmp_path, url, flow(changed)) as works:
        await works.answer(f"order.a:{waits}", name="bank")

        assert text in await told(works)


async def test_a_step_of_a_step_is_compared_too(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/engine.db"

    async with plant(tmp_path, url, flow(inner_charge)) as works:
        await works.start("a")
        await works.opened("order.a:1.2")

    async with plant(tmp_path, url, flow(nested)) as works:
        await works.answer("order.a:1.2", name="bank")

        assert await told(works) == 'step 1.1 is recorded as "charge", the code now calls "validate"'
        assert (await works.engine.promises.get("order.a:1")).state == "pending"


async def test_a_renamed_function_keeps_the_name_it_is_recorded_under(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/engine.db"

    async with plant(tmp_path, url, flow(charged)) as works:
        await begun(works)

    async with plant(tmp_path, url, flow(lambda ctx: answered(ctx, collect))) as works:
        await works.answer("order.a:2", "7", name="bank")

        assert await works.ended("a") == ("succeeded", ["charged", 7])


async def test_a_result_that_no_longer_fits_its_annotation_waits_too(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/engine.db"

    @step(name="charge")
    async def counted(ctx: Context) -> int:
        return 7

    async with plant(tmp_path, url, flow(charged)) as works:
        await begun(works)

    async with plant(tmp_path, url, flow(lambda ctx: answered(ctx, counted))) as works:
        await works.answer("order.a:2", name="bank")

        assert await told(works) == "the result of charge does not fit its annotation int"


async def test_runs_end_under_the_version_they_began_under_where_it_is_kept(tmp_path: Path, engine_url: str) -> None:
    if engine_url == "memory://":
        pytest.skip("what it holds ends with the process")

    first = flow(charged)
    second = flow(lambda ctx: answered(ctx, validate), version=2)

    async with plant(tmp_path, engine_url, first) as works:
        await begun(works)

    async with plant(tmp_path, engine_url, second, also=[first]) as works:
        await works.start("b")
        await works.opened("order.b:2")

        for each in "ab":
            await works.answer(f"order.{each}:2", "7", name="bank")

        assert await works.ended("a") == ("succeeded", ["charged", 7])
        assert await works.ended("b") == ("succeeded", ["validated", 7])


async def test_a_run_whose_version_is_gone_goes_on_under_the_next_one_if_that_fits(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/engine.db"

    async with plant(tmp_path, url, flow(charged)) as works:
        await begun(works)

    async with plant(tmp_path, url, flow(lambda ctx: answered(ctx, collect), version=3)) as works:
        await works.answer("order.a:2", "7", name="bank")

        assert await works.ended("a") == ("succeeded", ["charged", 7])


async def test_nothing_of_the_pauses_shows_among_the_steps(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/engine.db"

    async with plant(tmp_path, url, flow(charged)) as works:
        await begun(works)

    async with plant(tmp_path, url, flow(lambda ctx: answered(ctx, validate))) as works:
        await works.answer("order.a:2", name="bank")
        await told(works)

        assert [record.id for record in await works.steps("a")] == ["order.a:1", "order.a:2"]

        with pytest.raises(UnknownPromise):
            await works.engine.promises.get("order.a:3")
