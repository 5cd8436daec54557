"""Another workflow as a step, on every engine: its result, its failure, its cancel, and who ends with whom.

Long because parents and their sub-workflows can end in many orders, and each has its case.
"""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel, ConfigDict
from support.plant import PATIENCE, Plant, pause, plant, worker

from orchestrator import (
    Context,
    WorkflowCancelled,
    WorkflowExpired,
    WorkflowFailed,
    group_step,
    open_callback,
    run_workflow,
    workflow,
)
from orchestrator.callbacks.outcomes import Outcome
from orchestrator.callbacks.settlement import resolve
from orchestrator.errors import UnknownPromise
from orchestrator.runs.cancellation import request_cancel
from orchestrator.runs.children import child_id
from orchestrator.runs.roots import start_root, view_root
from orchestrator.runs.step_view import view_steps
from orchestrator.runs.subworkflow import DEEPEST
from orchestrator.testing import Trial

if TYPE_CHECKING:
    from pathlib import Path

    from resonate.context import Context as SDKContext

    from orchestrator.runs.roots import RootView


class Part(BaseModel):
    """The input of a sub-workflow."""

    model_config = ConfigDict(extra="forbid", strict=True)

    number: int = 0
    fate: str = "double"


class Whole(BaseModel):
    """The input of a parent: how its sub-workflows are to end."""

    fates: tuple[str, ...] = ("double",)
    catches: bool = False
    input: dict[str, Any] | None = None


RUNS: list[str] = []
UNDONE: list[str] = []


async def note_run(ctx: Context) -> None:
    RUNS.append(ctx.info.origin_id)


async def undo(ctx: Context) -> None:
    UNDONE.append(ctx.info.origin_id)


@workflow(timeout=timedelta(days=30))
async def part(ctx: Context, request: Part) -> Any:
    """End as the input says."""
    await ctx.run(note_run)

    match request.fate:
        case "wait":
            outcome = await (await open_callback(ctx, "answer", deadline=timedelta(days=3)))

            if outcome.kind == "cancelled":
                await ctx.run(undo)
                raise WorkflowCancelled("nobody answered in time", asked="ada")

            return outcome.value
        case "fail":
            raise WorkflowFailed("the part is broken", code=7, details={"a": [1, 2.5]})
        case "expire":
            raise WorkflowExpired("too late")
        case "sleep":
            await ctx.sleep(timedelta(days=2))

    return {"doubled": request.number * 2}


@workflow(timeout=timedelta(seconds=2))
async def short(ctx: Context, request: Part) -> None:
    """Wait for longer than it may."""
    await ctx.sleep(timedelta(days=request.number or 1))


@workflow()
async def whole(ctx: Context, request: Whole) -> Any:
    """Run several parts at once, and say how each ended."""
    parts = [
        run_workflow(ctx, part, Part(number=number, fate=fate))
        for number, fate in enumerate(request.fates, start=1)
        if fate != "short"
    ] + [run_workflow(ctx, short, {}) for fate in request.fates if fate == "short"]

    if not request.catches:
        return await asyncio.gather(*parts)

    ended = []

    for one in parts:
        try:
            ended.append(await one)
        except (WorkflowFailed, WorkflowExpired, WorkflowCancelled) as end:
            ended.append([end.state, end.error])

    return ended


@workflow()
async def middle(ctx: Context, request: Part) -> Any:
    """Run a part as the only step."""
    return await run_workflow(ctx, part, request)


@workflow()
async def top(ctx: Context, request: Part) -> Any:
    """Run a workflow that runs a part, and undo something of its own if that does not succeed."""
    try:
        return await run_workflow(ctx, middle, request)
    except WorkflowCancelled:
        await ctx.run(undo)
        raise


@workflow()
async def careless(ctx: Context, request: Whole) -> str:
    """End without what it has begun."""
    _ = run_workflow(ctx, part, Part(fate="wait"))
    await ctx.run(note_run)

    if request.catches:
        raise WorkflowFailed("gave up")

    return "done"


@workflow()
async def wrong(ctx: Context, request: Whole) -> Any:
    """Pass an input as it is."""
    return await run_workflow(ctx, part, request.input or {})


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    RUNS.clear()
    UNDONE.clear()


async def child_root(one: Plant, root_id: str, number: int = 1) -> str:
    """Return the root of the sub-workflow that this step runs, once it is there."""
    step = await one.opened(f"{root_id}:{number}")
    root = await one.engine.promises.get(root_id)
    child = f"{step.tags['countersign:child']}.{child_id(root, step.id)}"
    await one.opened(child)

    return child


async def ended(one: Plant, root_id: str) -> RootView:
    return view_root(await one.engine.wait_settled(root_id, seconds=PATIENCE))


async def answered(one: Plant, wait: str, body: object = None) -> None:
    await one.opened(wait)
    outcome = Outcome(kind="succeeded", callback="answer", by="callback", body=json.dumps(body))
    await resolve(one.engine.promises, wait, ikey="a test", outcome=outcome)


async def test_a_sub_workflow_is_a_workflow_of_its_own_and_its_result_that_of_a_step(
    tmp_path: Path, engine_url: str
) -> None:
    async with plant(tmp_path, engine_url, whole) as one:
        await one.start("a", fates=["double", "wait"])
        waiting = await child_root(one, "whole.a", 2)
        await answered(one, f"{waiting}:2", {"n": 1.50})

        assert await one.ended("a") == ("succeeded", [{"doubled": 2}, {"n": 1.5}])
        child = await ended(one, await child_root(one, "whole.a"))
        assert (child.state, child.result, child.parent) == ("succeeded", '{"doubled": 2}', "whole.a:1")
        assert child.parent_name == ("whole", "a")
        assert json.loads(child.request or "") == {"number": 1, "fate": "double"}
        steps = [step for step in (await view_steps(one.engine.promises, "whole.a"))[0] if step.child is not None]
        assert [(step.name, step.state, f"part.{step.child[1]}") for step in steps if step.child] == [
            ("part", "succeeded", child.root_id),
            ("part", "succeeded", waiting),
        ]
        assert sorted(RUNS) == sorted([child.root_id, waiting])


async def test_how_a_sub_workflow_ended_is_raised_in_its_parent_with_its_error(tmp_path: Path, engine_url: str) -> None:
    async with plant(tmp_path, engine_url, whole) as one:
        await one.start("a", fates=["fail", "expire", "short", "wait"], catches=True)
        waiting = await child_root(one, "whole.a", 3)
        await one.opened(f"{waiting}:2")
        await request_cancel(one.engine, waiting)
        state, told = await one.ended("a")

        assert state == "succeeded"
        assert told == [
            ["failed", {"message": "the part is broken", "code": 7, "details": {"a": [1, 2.5]}}],
            ["expired", {"message": "too late"}],
            ["cancelled", {"message": "nobody answered in time", "asked": "ada"}],
            ["expired", {"message": "the workflow reached its own timeout"}],
        ]
        states = {step.state for step in (await view_steps(one.engine.promises, "whole.a"))[0] if step.child}
        assert states == {"failed", "expired", "cancelled"}


async def test_a_parent_that_does_not_catch_it_ends_with_the_error_and_cancels_the_others(
    tmp_path: Path, engine_url: str
) -> None:
    async with plant(tmp_path, engine_url, whole) as one:
        await one.start("a", fates=["fail", "wait"])

        assert await one.ended("a") == (
            "failed",
            {"message": "the part is broken", "code": 7, "details": {"a": [1, 2.5]}},
        )
        other = await child_root(one, "whole.a", 2)
        assert (await ended(one, other)).state == "cancelled"
        assert [other] == UNDONE


async def test_a_cancel_goes_down_to_the_last_sub_workflow_and_all_compensate(tmp_path: Path, engine_url: str) -> None:
    async with plant(tmp_path, engine_url, top) as one:
        await one.start("a", fate="wait")
        inner = await child_root(one, "top.a")
        innermost = await child_root(one, inner)
        await one.opened(f"{innermost}:2")
        await request_cancel(one.engine, "top.a")

        assert await one.ended("a") == ("cancelled", {"message": "nobody answered in time", "asked": "ada"})
        assert [(await ended(one, each)).state for each in (inner, innermost)] == ["cancelled", "cancelled"]
        assert [innermost, "top.a"] == UNDONE


@pytest.mark.parametrize("catches", [False, True])
async def test_a_sub_workflow_that_nobody_awaits_ends_before_its_parent(
    tmp_path: Path, engine_url: str, *, catches: bool
) -> None:
    async with plant(tmp_path, engine_url, careless) as one:
        await one.start("a", catches=catches)

        assert (await one.ended("a"))[0] == ("failed" if catches else "succeeded")
        child = await child_root(one, "careless.a")
        assert (await one.engine.promises.get(child)).state != "pending"
        assert [child] == UNDONE


async def test_a_sub_workflow_ends_at_its_parents_timeout_at_the_latest(tmp_path: Path) -> None:
    async with plant(tmp_path, "memory://", whole) as one:
        await start_root(
            one.engine,
            name="whole",
            workflow_id="a",
            text='{"fates": ["sleep"]}',
            group="default",
            timeout=timedelta(days=1),
        )
        child = await child_root(one, "whole.a")
        records = [await one.engine.promises.get(each) for each in ("whole.a", child)]

        assert records[0].timeout_at == records[1].timeout_at
        assert (await one.engine.promises.get("whole.a:1")).timeout_at == records[0].timeout_at


@pytest.mark.parametrize(
    ("given", "fields"),
    [({"number": "1"}, "number"), ({"number": 1, "colour": 2}, "colour"), ({"number": 1, "fate": None}, "fate")],
)
async def test_an_input_that_does_not_fit_starts_nothing_and_names_the_fields(
    tmp_path: Path, given: dict[str, Any], fields: str
) -> None:
    async with plant(tmp_path, "memory://", wrong) as one:
        await one.start("a", input=given)

        assert await one.ended("a") == (
            "failed",
            {"message": f"part was not started, because its input does not fit: {fields}"},
        )
        assert await one.steps("a") == []


async def test_what_is_no_loaded_workflow_or_another_ones_input_is_refused_at_once(tmp_path: Path) -> None:
    told: list[str] = []

    def unloaded() -> Any:
        @workflow(name="unloaded")
        async def body(ctx: Context, request: Part) -> None:
            """Do nothing."""

        return body

    @workflow(name="whole")
    async def body(ctx: Context, request: Whole) -> None:
        for wrong_one, given in [(note_run, {}), (part, Whole()), (unloaded(), {})]:
            with pytest.raises(TypeError) as refused:
                await run_workflow(ctx, wrong_one, given)

            told.append(str(refused.value))

    async with plant(tmp_path, "memory://", body) as one:
        await one.start("a")

        assert (await one.ended("a"))[0] == "succeeded"

    assert told == [
        "run_workflow needs a workflow, made with @workflow, not a function",
        "part takes a Part, not a Whole",
        (
            "the workflow unloaded is not loaded: import it in its parent's module, or name its own module in "
            "COUNTERSIGN_WORKFLOWS"
        ),
    ]


async def test_a_workflow_that_somebody_else_started_under_the_id_is_not_taken_for_the_sub_workflow(
    tmp_path: Path,
) -> None:
    async with plant(tmp_path, "memory://", middle, working=False) as one:
        await one.start("a", number=1)
        taken = child_id(await one.engine.promises.get("middle.a"), "middle.a:1")
        await start_root(
            one.engine, name="part", workflow_id=taken, text="{}", group="default", timeout=timedelta(days=1)
        )
        one.engine.start()

        state, error = await one.ended("a")
        assert state == "failed"
        assert error["message"].startswith("somebody else started part under the id")


async def test_a_parent_that_is_started_again_has_another_sub_workflow(tmp_path: Path) -> None:
    async with plant(tmp_path, "memory://", middle) as one:
        await one.start("a", number=1)
        await one.ended("a")
        first = await child_root(one, "middle.a")
        embedded: Any = one.engine.resonate._network
        assert embedded.state.drop("middle.a")
        await one.start("a", number=2)

        assert await one.ended("a") == ("succeeded", {"doubled": 4})
        assert await child_root(one, "middle.a") != first


async def test_a_sub_workflow_is_not_started_for_a_parent_that_was_cancelled_before(
    tmp_path: Path, engine_url: str
) -> None:
    async with plant(tmp_path, engine_url, middle, working=False) as one:
        await one.start("a", number=1)
        step = {"resonate:scope": "local", "countersign:child": "part", "resonate:branch": "middle.a"}
        tags = step | {"resonate:parent": "middle.a", "resonate:origin": "middle.a"}
        await one.engine.promises.create("middle.a:1", timeout_at=int((one.now() + 3600) * 1000), param=None, tags=tags)
        await pause(0.05)
        await request_cancel(one.engine, "middle.a")
        one.engine.start()

        # Under payload keys, the workflow notices that it did not make the step itself.
        assert (await one.ended("a"))[0] == ("failed" if one.settings.payload_keys else "cancelled")

        with pytest.raises(UnknownPromise):
            await one.engine.promises.get(f"part.{child_id(await one.engine.promises.get('middle.a'), 'middle.a:1')}")


@workflow(group="other")
async def elsewhere(ctx: Context, request: Part) -> str:
    """Run in another group."""
    return str(await ctx.call(far, request.number))


@group_step("other")
async def far(_: SDKContext, number: int) -> str:
    return f"far {number}"


@workflow()
async def sends(ctx: Context, request: Part) -> Any:
    """Run a workflow of another group."""
    return await run_workflow(ctx, elsewhere, {"number": request.number})


async def test_a_sub_workflow_runs_in_the_group_it_belongs_to(tmp_path: Path, engine_url: str) -> None:
    async with plant(tmp_path, engine_url, sends) as one:
        await one.start("a", number=3)
        child = await child_root(one, "sends.a")

        if not one.engine.embedded:
            assert (await one.engine.promises.get(child)).state == "pending"

            async with worker(tmp_path, one.settings, [sends], group="other"):
                assert await one.ended("a") == ("succeeded", "far 3")
        else:
            assert await one.ended("a") == ("succeeded", "far 3")


async def test_a_workflow_that_runs_itself_fails_before_it_fills_the_store() -> None:
    RUNS.clear()

    @workflow(name="endless")
    async def endless(ctx: Context, request: Part) -> Any:
        RUNS.append("endless")

        return await run_workflow(ctx, endless, {"number": request.number + 1})

    async with Trial(endless) as trial:
        run = await trial.start("endless", {})

        with pytest.raises(WorkflowFailed, match="endless would be 33 workflows deep: does one of them run itself"):
            await run.result()

    assert len(RUNS) <= 2 * (DEEPEST + 1) + 1


async def test_workflows_may_run_one_another_as_deep_as_that() -> None:
    @workflow(name="nested")
    async def nested(ctx: Context, request: Part) -> int:
        if request.number == DEEPEST:
            return request.number

        deepest: int = await run_workflow(ctx, nested, {"number": request.number + 1})

        return deepest

    async with Trial(nested) as trial:
        assert await (await trial.start("nested", {})).result() == DEEPEST
