"""A cancel ends a workflow whose code runs at that moment: in a step, or between two tries."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel
from resonate.retry import Exponential
from support.plant import Plant, pause, plant

from orchestrator import Context, WorkflowCancelled, compensating, open_callback, workflow
from orchestrator.durable import interrupts
from orchestrator.runs import cancel_watch
from orchestrator.runs.call_graph import name_of
from orchestrator.runs.cancellation import request_cancel

if TYPE_CHECKING:
    from pathlib import Path

DAY = 86400
CANCELLED = ("cancelled", {"message": "the workflow was cancelled"})


class Task(BaseModel):
    """What the workflow is busy with when the cancel comes."""

    busy: str


EVENTS: list[str] = []


async def prepare(_: Context) -> None:
    EVENTS.append("prepared")


async def undo(_: Context) -> None:
    EVENTS.append("undone")


async def last_for_hours(_: Context) -> None:
    EVENTS.append("busy")

    try:
        await asyncio.sleep(DAY)
    except asyncio.CancelledError:
        EVENTS.append("stopped")
        raise


async def end_soon(_: Context) -> str:
    EVENTS.append("busy")
    await asyncio.sleep(2)
    EVENTS.append("ended")
    return "x"


async def fail(_: Context) -> None:
    EVENTS.append("busy")
    raise OSError("unreachable")


async def never_stop(_: Context) -> None:
    EVENTS.append("busy")

    while "over" not in EVENTS:
        try:
            await asyncio.sleep(DAY)
        except asyncio.CancelledError:
            EVENTS.append("went on")


async def recover(_: Context) -> None:
    EVENTS.append("recovering")

    if EVENTS.count("recovering") < 3:
        raise OSError("not yet")


@workflow()
async def busy(ctx: Context, request: Task) -> Any:
    """Prepare something, be busy, and undo it if that fails."""
    async with compensating(ctx) as undone:
        await ctx.run(prepare)
        undone.add(undo)

        match request.busy:
            case "step":
                await ctx.run(last_for_hours)
            case "short":
                await ctx.run(end_soon)
                await ctx.run(prepare)
            case "retry":
                policy = Exponential(delay=DAY, factor=1, max_delay=DAY, max_retries=9)
                await ctx.options(retry_policy=policy).run(fail)
            case "never":
                await ctx.run(never_stop)
            case "both":
                callback = await open_callback(ctx, "answer", deadline=timedelta(days=1))
                await asyncio.gather(callback, ctx.run(last_for_hours))
            case "shielded":
                return await ctx.shielded.run(end_soon)
            case "stubborn":
                try:
                    await ctx.run(last_for_hours)
                except WorkflowCancelled:
                    await ctx.run(recover)

    return "done"


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    EVENTS.clear()
    monkeypatch.setattr(interrupts, "GRACE", 0.5)
    monkeypatch.setattr(cancel_watch, "FIRST_LOOK", 0.1)
    monkeypatch.setattr(cancel_watch, "_STEP", 0.05)


async def cancelled_while_busy(one: Plant, what: str) -> tuple[str, Any]:
    await one.start("a", busy=what)

    while "busy" not in EVENTS:
        await pause(0.02)

    await request_cancel(one.engine, "busy.a")

    return await one.ended("a")


@pytest.mark.parametrize("what", ["step", "retry", "both"])
async def test_a_cancel_ends_what_runs_and_what_was_done_is_undone(tmp_path: Path, engine_url: str, what: str) -> None:
    async with plant(tmp_path, engine_url, busy) as one:
        assert await cancelled_while_busy(one, what) == CANCELLED
        assert ["prepared", "busy", *(["stopped"] if what in {"step", "both"} else []), "undone"] == EVENTS


async def test_a_try_that_ends_within_its_grace_is_recorded_and_the_next_step_is_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interrupts, "GRACE", 30)

    async with plant(tmp_path, "memory://", busy) as one:
        assert await cancelled_while_busy(one, "short") == CANCELLED
        assert EVENTS == ["prepared", "busy", "ended", "undone"]
        assert [name_of(step) for step in await one.steps("a")] == ["prepare", "end_soon", "prepare", "undo"]


async def test_a_shielded_step_is_left_to_end(tmp_path: Path) -> None:
    async with plant(tmp_path, "memory://", busy) as one:
        assert await cancelled_while_busy(one, "shielded") == ("succeeded", "x")


async def test_the_steps_of_the_compensation_are_tried_again_and_what_it_returns_is_kept(tmp_path: Path) -> None:
    async with plant(tmp_path, "memory://", busy) as one:
        assert await cancelled_while_busy(one, "stubborn") == ("cancelled", "done")
        assert ["prepared", "busy", "stopped", *["recovering"] * 3] == EVENTS


async def test_a_workflow_whose_code_does_not_stop_is_ended_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancel_watch, "LAST", 1.0)

    async with plant(tmp_path, "memory://", busy) as one:
        state, error = await cancelled_while_busy(one, "never")

        assert state == "cancelled"
        assert "did not stop within 1 s" in error["message"]
        assert "went on" in EVENTS
        EVENTS.append("over")
