"""A block that is undone when it fails, and only then: the last step first, each once, whatever is in the way."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel
from support.plant import Plant, plant

from orchestrator import (
    Context,
    NotUndone,
    StepRefused,
    WorkflowExpired,
    WorkflowFailed,
    compensating,
    group_step,
    open_callback,
    workflow,
)
from orchestrator.runs.call_graph import name_of
from orchestrator.runs.cancellation import request_cancel

if TYPE_CHECKING:
    from pathlib import Path


class Trip(BaseModel):
    """What is booked, and what goes wrong."""

    fails: str = ""
    stuck: tuple[str, ...] = ()
    catches: bool = False


DONE: list[str] = []


async def book(_: Context, what: str) -> str:
    DONE.append(f"book {what}")
    return what


async def unbook(_: Context, what: str, *, stuck: bool) -> None:
    DONE.append(f"unbook {what}")

    if stuck:
        raise StepRefused("no refunds")


async def refuse(_: Context) -> None:
    raise StepRefused("sold out")


@group_step("db")
async def strike_out(_: Context, what: str) -> None:
    DONE.append(f"strike out {what}")


async def forgotten(_: Context) -> None:
    """Take nothing."""


async def failing(ctx: Context, fails: str) -> None:
    match fails:
        case "step":
            await ctx.run(refuse)
        case "code":
            raise ValueError("a secret")
        case "exit":
            raise SystemExit(3)
        case "reason":
            raise WorkflowFailed("no guide", code=7)
        case "sleep":
            await ctx.sleep(timedelta(days=20))


@workflow()
async def trip(ctx: Context, request: Trip) -> Any:
    """Book three things one after the other, with waits in between."""
    try:
        async with compensating(ctx) as undo:
            for what in ("train", "hotel"):
                undo.add(unbook, await ctx.run(book, what), stuck=what in request.stuck)

                if (await (await open_callback(ctx, what, deadline=timedelta(days=3)))).kind == "cancelled":
                    raise WorkflowExpired("nobody confirmed", what=what)

            if request.fails == "group":
                undo.add(strike_out, "guide")
                raise WorkflowFailed("no guide")

            if request.fails == "undo":
                undo.add(forgotten, "train")

            await failing(ctx, request.fails)

    except NotUndone as error:
        if not request.catches:
            raise

        return list(error.steps)

    return "booked"


@pytest.fixture(autouse=True)
def _nothing_done() -> None:
    DONE.clear()


async def confirmed(one: Plant, **request: Any) -> None:
    """Start the trip, and confirm both bookings: the workflow is replayed after each."""
    await one.start("a", **request)

    for number, what in ((2, "train"), (4, "hotel")):
        await one.opened(f"trip.a:{number}")
        await one.answer(f"trip.a:{number}", name=what)


async def test_a_block_that_ends_by_itself_and_is_replayed_in_between_is_not_undone(
    tmp_path: Path, engine_url: str
) -> None:
    async with plant(tmp_path, engine_url, trip) as one:
        await confirmed(one)

        assert await one.ended("a") == ("succeeded", "booked")
        assert DONE == ["book train", "book hotel"]


@pytest.mark.parametrize(
    ("fails", "state", "error"),
    [
        ("step", "failed", {"message": "StepRefused: sold out"}),
        ("code", "failed", {"message": "the workflow's code raised ValueError"}),
        ("exit", "failed", {"message": "the workflow's code raised SystemExit"}),
        ("reason", "failed", {"message": "no guide", "code": 7}),
    ],
)
async def test_a_block_that_fails_is_undone_the_last_step_first(
    tmp_path: Path, fails: str, state: str, error: dict[str, Any]
) -> None:
    async with plant(tmp_path, "memory://", trip) as one:
        await confirmed(one, fails=fails)
        ended, told = await one.ended("a")

        assert ended == state
        assert told | {"message": told["message"].partition(" at ")[0]} == error
        assert DONE == ["book train", "book hotel", "unbook hotel", "unbook train"]


async def test_a_group_step_is_undone_by_its_group(tmp_path: Path) -> None:
    async with plant(tmp_path, "memory://", trip) as one:
        await confirmed(one, fails="group")

        assert await one.ended("a") == ("failed", {"message": "no guide"})
        assert DONE[2:] == ["strike out guide", "unbook hotel", "unbook train"]


async def test_a_step_that_does_not_take_its_arguments_is_refused_when_it_is_added(tmp_path: Path) -> None:
    async with plant(tmp_path, "memory://", trip) as one:
        await confirmed(one, fails="undo")
        state, error = await one.ended("a")

        assert state == "failed"
        assert error["message"].startswith("the step forgotten takes nothing after ctx: ")
        assert DONE[2:] == ["unbook hotel", "unbook train"]


async def test_an_error_that_the_code_raises_because_of_a_cancel_is_the_error_of_a_cancelled_workflow(
    tmp_path: Path, engine_url: str
) -> None:
    async with plant(tmp_path, engine_url, trip) as one:
        await one.start("a")
        await one.opened("trip.a:2")
        await request_cancel(one.engine, "trip.a")

        assert await one.ended("a") == ("cancelled", {"message": "nobody confirmed", "what": "train"})
        assert DONE == ["book train", "unbook train"]


async def test_an_error_from_before_the_cancel_is_that_of_a_failed_workflow(tmp_path: Path) -> None:
    async with plant(tmp_path, "memory://", trip) as one:
        await one.start("a")
        await one.opened("trip.a:2")
        await one.answer("trip.a:2", kind="cancelled", name="train")

        assert await one.ended("a") == ("expired", {"message": "nobody confirmed", "what": "train"})


async def test_a_cancel_undoes_what_was_done_so_far(tmp_path: Path, engine_url: str) -> None:
    async with plant(tmp_path, engine_url, trip) as one:
        await confirmed(one, fails="sleep")
        await one.opened("trip.a:5")
        await request_cancel(one.engine, "trip.a")

        assert (await one.ended("a"))[0] == "cancelled"
        assert DONE[2:] == ["unbook hotel", "unbook train"]
        assert [name_of(step) for step in await one.steps("a")].count("unbook") == 2


@pytest.mark.parametrize(
    ("fails", "error"),
    [
        ("step", {"message": "StepRefused: sold out; not undone: unbook failed with StepRefused"}),
        ("reason", {"message": "no guide; not undone: unbook failed with StepRefused", "code": 7}),
    ],
)
async def test_what_could_not_be_undone_is_said_and_the_rest_is_undone(
    tmp_path: Path, fails: str, error: dict[str, Any]
) -> None:
    async with plant(tmp_path, "memory://", trip) as one:
        await confirmed(one, fails=fails, stuck=["hotel"])

        assert await one.ended("a") == ("failed", error)
        assert DONE[2:] == ["unbook hotel", "unbook train"]


async def test_a_workflow_that_was_cancelled_and_could_not_undo_something_has_failed(tmp_path: Path) -> None:
    async with plant(tmp_path, "memory://", trip) as one:
        await one.start("a", stuck=["train"])
        await one.opened("trip.a:2")
        await request_cancel(one.engine, "trip.a")

        assert await one.ended("a") == (
            "failed",
            {"message": "nobody confirmed; not undone: unbook failed with StepRefused", "what": "train"},
        )


async def test_a_workflow_may_handle_what_could_not_be_undone(tmp_path: Path) -> None:
    async with plant(tmp_path, "memory://", trip) as one:
        await confirmed(one, fails="step", stuck=["train", "hotel"], catches=True)

        assert await one.ended("a") == ("succeeded", ["unbook failed with StepRefused"] * 2)
