"""A cancel reaches every wait of a workflow, however long and however deep its graph."""

from __future__ import annotations

import contextlib
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel
from support.edge import AUTHORISED, Edge, edge, problem
from support.plant import PATIENCE, pause

from orchestrator import Context, open_callback, workflow
from orchestrator.durable.scheduling import create_task
from orchestrator.errors import UnknownPromise
from orchestrator.runs.call_graph import GAP, PAGE
from orchestrator.runs.cancel_record import CANCEL, cancel_ids, find_cancel
from orchestrator.runs.cancellation import drive_cancel
from orchestrator.stored_names import STEP_TAG

if TYPE_CHECKING:
    from pathlib import Path


class Shape(BaseModel):
    """What is done before the wait."""

    steps: int = 0
    detached: int = 0
    depth: int = 0


@workflow()
async def long(ctx: Context, request: Shape) -> str:
    """Wait after many steps. Those are made by `waiting`: the SDK itself takes minutes for some thousands."""
    ctx._state.seq += request.steps

    for _ in range(request.detached):
        await ctx.detached(aside.name, None)

    if request.depth:
        return str(await ctx.run(below, request.depth))

    return (await (await open_callback(ctx, "answer", deadline=timedelta(days=1)))).kind


@workflow()
async def aside(_ctx: Context, _request: Shape) -> None:
    """Run beside the workflow that detached it."""


async def below(ctx: Context, depth: int) -> str:
    """Wait at this depth."""
    if depth > 1:
        return str(await ctx.run(below, depth - 1))

    await ctx.sleep(timedelta(days=300))
    return "slept"


async def waiting(here: Edge, shape: dict[str, int], wait: str) -> None:
    """Start the workflow, and return when its wait is open and its steps are there."""
    in_an_hour = int((time.time() + 3600) * 1000)

    for number in range(1, shape.get("steps", 0) + 1):
        tags = {"resonate:scope": "local", STEP_TAG: "step"}
        await here.engine.promises.create(f"long.1:{number}", timeout_at=in_an_hour, param=None, tags=tags)
        await here.engine.promises.resolve(f"long.1:{number}", None)

    await here.client.put("/workflows/long/1", json=shape, headers=AUTHORISED)

    for _ in range(int(PATIENCE * 20)):
        with contextlib.suppress(UnknownPromise):
            await here.engine.promises.get(wait)
            return

        await pause(0.1)

    pytest.fail("the workflow does not wait")


async def ended(here: Edge) -> dict[str, Any]:
    answer = await here.client.get("/workflows/long/1", headers=AUTHORISED | {"Prefer": "wait=30"})
    document: dict[str, Any] = answer.json()
    return document


@pytest.mark.parametrize(
    ("shape", "wait"),
    [
        ({"steps": 2 * PAGE + 10}, f"long.1:{2 * PAGE + 11}"),
        ({"detached": GAP}, f"long.1:{GAP + 1}"),
        ({"steps": 1, "detached": 3, "depth": 12}, "long.1:5" + ".1" * 12),
    ],
    ids=["many", "a gap", "deep"],
)
async def test_a_cancel_reaches_a_wait_wherever_it_is(tmp_path: Path, shape: dict[str, int], wait: str) -> None:
    async with edge(tmp_path, workflows=[long, aside]) as here:
        await waiting(here, shape, wait)
        answer = await here.client.delete("/workflows/long/1", headers=AUTHORISED)

        assert answer.status_code == 202
        assert (await here.engine.wait_settled("long.1", seconds=PATIENCE)).state == "resolved"
        record = await here.engine.promises.get(wait)
        assert record.state != "pending"
        assert (await ended(here))["state"] == "cancelled"


async def test_the_steps_come_in_pages_and_none_is_left_out(tmp_path: Path) -> None:
    async with edge(tmp_path, workflows=[long]) as here:
        count = PAGE + 10
        await waiting(here, {"steps": count}, f"long.1:{count + 1}")
        first = (await here.client.get("/workflows/long/1?steps=1", headers=AUTHORISED)).json()
        rest = (await here.client.get(f"/workflows/long/1?steps=1&after={first['next']}", headers=AUTHORISED)).json()
        page = await here.client.get("/workflows/long/1", headers=AUTHORISED | {"Accept": "text/html"})

        assert first["truncated"] is True
        assert not rest.keys() & {"truncated", "next"}
        ids = [one["id"] for one in first["steps"] + rest["steps"]]
        assert ids == [f"long.1:{number}" for number in range(1, count + 2)]
        assert "More than 1500 further steps are not shown" in page.text

        answer = await here.client.get("/workflows/long/1?steps=1&after=other.1:1", headers=AUTHORISED)
        problem(answer, 422, "invalid-id")


@pytest.mark.parametrize("param", [None, "x", {"func": CANCEL, "args": []}, {"func": CANCEL, "args": [{"root": "b"}]}])
async def test_a_promise_under_a_cancels_id_that_records_no_cancel_is_ignored(tmp_path: Path, param: object) -> None:
    async with edge(tmp_path) as here:
        await here.asked("1")
        root = await here.engine.promises.get("ask.1")

        for promise_id in ("ask.1~cancel", *cancel_ids(root)):
            await here.engine.promises.create(promise_id, timeout_at=2**42, param=param, tags={})

        assert await find_cancel(here.engine.promises, root) is None


async def test_a_cancel_of_a_workflow_that_the_engine_has_forgotten_is_driven_no_more(tmp_path: Path) -> None:
    async with edge(tmp_path) as here:
        await create_task(
            here.engine,
            "ask.1~nonce~cancel",
            function=CANCEL,
            argument={"root": "ask.1"},
            target=here.engine.address_of("default"),
            timeout_at=2**42,
        )

        assert (await here.engine.wait_settled("ask.1~nonce~cancel", seconds=PATIENCE)).state == "resolved"


async def test_a_cancel_that_was_under_way_before_an_upgrade_goes_on() -> None:
    """What its step recorded until then was a boolean."""

    class Replayed:
        seen = iter([False, {"after": None, "idle": {"r": 1}}, "r:7", False, True])
        asked: list[Any] = []  # noqa: RUF012 - of this test
        slept = 0

        async def run(self, _step: Any, root_id: str, after: str | None, idle: Any) -> Any:
            self.asked.append(after or idle)
            return next(self.seen)

        async def sleep(self, _: timedelta) -> None:
            self.slept += 1

    replayed: Any = Replayed()
    await drive_cancel(replayed, {"root": "r"})

    assert replayed.asked == [{}, {}, {"r": 1}, "r:7", {}]
    assert replayed.slept == 3
