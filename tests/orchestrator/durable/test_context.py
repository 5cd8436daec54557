"""What workflow code gets as `ctx`, with the SDK's own engine under it."""

from __future__ import annotations

import asyncio
import gc
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from resonate.connections import LocalConnection
from resonate.context import Context as SDKContext
from resonate.error import Suspended
from resonate.resonate import Resonate
from resonate.types import PromiseRecord, Value

from orchestrator.durable.context import Context
from orchestrator.durable.first_over import first_over
from orchestrator.durable.opened_at import MARK
from orchestrator.engine import Engine
from orchestrator.stored_names import CALLBACK_TAG, STEP_TAG

NOW = 1_000_000


async def a_step(_ctx: SDKContext) -> int:
    return 7


async def records_of(
    body: Any, settled: dict[str, Any] | None = None, *, plain: bool = False
) -> dict[str, PromiseRecord]:
    """Run a workflow body on the SDK's own engine until it suspends or ends, and return its promises.

    `plain` says that the engine ends plain promises, which that one does not.
    """
    connection = LocalConnection(clock=lambda: NOW, tick_interval=3600)
    resonate = Resonate(network=connection, clock=lambda: NOW, env={}, subscription_refresh_secs=0)
    address_of = connection.resolve_target
    resonate.with_dependency(
        Engine(resonate, embedded=True, seconds=5, address_of=address_of, ends_plain_promises=plain)
    )

    async def workflow(ctx: SDKContext) -> Any:
        return await body(Context.over(ctx))

    resonate.register(workflow, name="w")
    handle = resonate.run("w.1", workflow)
    await handle.id()

    while connection.state.tasks["w.1"].state == "acquired":
        await resonate._sleeper(0)

    for promise_id, value in (settled or {}).items():
        await resonate.promises.resolve(promise_id, Value(data=value))

    if settled is not None:
        await handle.result()

    found = {each: await resonate.promises.get(each) for each in connection.state.promises}
    await resonate.stop()
    return found


@pytest.mark.parametrize("plain", [True, False])
async def test_a_wait_keeps_what_it_was_first_opened_with_under_its_own_id(*, plain: bool) -> None:
    async def body(ctx: Context) -> Any:
        return await ctx.wait("approval", deadline=timedelta(seconds=60), holding=lambda promise_id: [promise_id])

    wait = (await records_of(body, plain=plain))["w.1:1"]

    assert wait.param.data == ["w.1:1"]


async def test_the_first_of_several_waits_lets_a_workflow_go_on() -> None:
    async def body(ctx: Context) -> Any:
        waits = [ctx.wait(f"approval-{n}", deadline=timedelta(seconds=60)) for n in range(2)]
        await first_over(waits)
        await ctx.run(a_step)

        return [await one for one in waits]

    assert "w.1:3" not in await records_of(body)
    assert (await records_of(body, {"w.1:2": 2, "w.1:1": 1}))["w.1"].value.data == [1, 2]


async def test_a_wait_is_a_plain_promise_where_the_engine_ends_those() -> None:
    async def body(ctx: Context) -> Any:
        return await ctx.wait("approval", deadline=timedelta(seconds=60))

    wait = (await records_of(body, plain=True))["w.1:1"]

    assert wait.state == "pending"
    assert wait.timeout_at == NOW + 60_000
    assert wait.tags == {
        "resonate:scope": "global",
        "resonate:branch": "w.1",
        "resonate:parent": "w.1",
        "resonate:origin": "w.1",
        "resonate:external": "true",
        CALLBACK_TAG: "approval",
        **MARK,
    }


async def test_only_the_promise_of_a_wait_is_one() -> None:
    async def inner(ctx: SDKContext) -> Any:
        return await Context.over(ctx).promise(timedelta(seconds=60))

    async def body(ctx: Context) -> Any:
        waits = [ctx.wait("approval", deadline=timedelta(seconds=60)), ctx.promise(), ctx.sleep(timedelta(seconds=60))]
        step = ctx.run(inner)

        return [await one for one in (*waits, step)]

    records = await records_of(body, plain=True)

    assert [id_ for id_, record in records.items() if CALLBACK_TAG in record.tags] == ["w.1:1"]
    assert len(records) == 6


async def test_a_wait_is_otherwise_a_timer_that_calls_no_worker_before_its_deadline() -> None:
    async def body(ctx: Context) -> Any:
        return await ctx.wait("approval", deadline=timedelta(seconds=60))

    wait = (await records_of(body))["w.1:1"]

    assert wait.state == "pending"
    assert wait.timeout_at == NOW + 60_000
    assert wait.tags == {
        "resonate:scope": "global",
        "resonate:target": "local://any@default",
        "resonate:branch": "w.1",
        "resonate:parent": "w.1",
        "resonate:origin": "w.1",
        "resonate:timer": "true",
        "resonate:external": "true",
        "resonate:delay": str(NOW + 60_000 - 1),
        CALLBACK_TAG: "approval",
        **MARK,
    }


async def test_a_wait_gives_the_value_it_is_resolved_with() -> None:
    async def body(ctx: Context) -> Any:
        return {"got": await ctx.wait("approval", deadline=timedelta(seconds=60))}

    records = await records_of(body, settled={"w.1:1": {"a": 1}})
    assert records["w.1"].value.data == {"got": {"a": 1}}


async def test_a_step_carries_its_name_and_a_plain_run_of_the_sdk_does_not() -> None:
    async def body(ctx: Context) -> Any:
        return await ctx.run(a_step) + await SDKContext.run(ctx, a_step)

    records = await records_of(body)
    assert records["w.1:1"].tags[STEP_TAG] == "a_step"
    assert STEP_TAG not in records["w.1:2"].tags
    assert records["w.1"].value.data == 14


async def test_steps_started_together_keep_their_own_names() -> None:
    async def other(_ctx: SDKContext) -> int:
        return 8

    async def body(ctx: Context) -> Any:
        futures = [ctx.run(a_step), ctx.run(other), ctx.run(a_step)]
        return [await future for future in futures]

    records = await records_of(body)
    assert [records[f"w.1:{n}"].tags[STEP_TAG] for n in (1, 2, 3)] == ["a_step", "other", "a_step"]


async def test_options_are_kept_by_a_context_over_another() -> None:
    async def body(ctx: Context) -> Any:
        limited = ctx.options(timeout=timedelta(seconds=5))
        assert Context.over(limited) is limited
        return await limited.run(a_step)

    assert (await records_of(body))["w.1:1"].timeout_at == NOW + 5_000


async def test_what_is_to_be_done_at_the_end_is_done_in_order_whichever_options_it_was_asked_for_with() -> None:
    done: list[str] = []

    async def body(ctx: Context) -> Any:
        for number, one in enumerate((ctx, Context.over(ctx.options(timeout=timedelta(seconds=5))), ctx)):

            async def action(number: int = number) -> None:
                done.append(f"{number} {await ctx.run(a_step)}")

            one.at_end(action)

        await ctx.run_end_actions()

    assert "w.1:3" in await records_of(body)
    assert done == ["0 7", "1 7", "2 7"]


async def test_a_wait_that_nobody_awaits_any_more_is_not_reported_as_forgotten() -> None:
    reported: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reported.append(context))

    async def over() -> None:
        return

    async def pending() -> None:
        raise Suspended

    futures: Any = [SimpleNamespace(_task=asyncio.ensure_future(one())) for one in (over, pending)]
    await first_over(futures)
    del futures
    gc.collect()

    assert reported == []


async def test_what_parts_ask_for_at_the_end_is_done_in_the_order_of_the_record() -> None:
    done: list[str] = []

    async def body(ctx: Context) -> Any:
        ctx.number_by_part()

        for about in ("w.1:10", "w.1:2", "w.1:2.0.1", "", "w.1:1"):

            async def action(about: str = about) -> None:
                done.append(about)

                if about == "w.1:1":
                    ctx.at_end(action_added_late, about="w.1:3")

            ctx.at_end(action, about=about)

        async def action_added_late() -> None:
            done.append("w.1:3")

        await ctx.run_end_actions()

    await records_of(body)
    assert done == ["", "w.1:1", "w.1:2", "w.1:2.0.1", "w.1:3", "w.1:10"]
