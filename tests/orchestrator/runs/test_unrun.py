"""A cancelled workflow whose code nobody runs is over after a while, on every engine; one that somebody runs is not."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel
from support.plant import PATIENCE, Plant, pause, plant

from orchestrator import Context, open_callback, workflow
from orchestrator.engine.tasks import TaskState
from orchestrator.errors import UnknownPromise
from orchestrator.runs import unrun
from orchestrator.runs.cancellation import pursue, request_cancel, see_through
from orchestrator.runs.roots import start_root, view_root
from orchestrator.runs.unrun import end_if_unrun
from orchestrator.stored_names import STEP_TAG

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.runs.roots import RootView


class Nothing(BaseModel):
    """No input."""


@workflow()
async def there(ctx: Context, request: Nothing) -> str:
    """Wait, and wait again after a cancel."""
    for number in range(3):
        kind = (await (await open_callback(ctx, f"answer-{number}", deadline=timedelta(days=1)))).kind

        if kind != "cancelled":
            return kind

    return "gave up"


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unrun, "UNBEGUN_GRACE", 0.5)
    monkeypatch.setattr(unrun, "GRACE", 1.0)


async def gone(one: Plant, *, begun: bool, group: str = "default") -> str:
    """Start a workflow whose code no worker has, and that may have done a step when one had."""
    view = await start_root(one.engine, name="gone", workflow_id="a", text="{}", group=group, timeout=timedelta(days=1))

    if begun:
        tags = {STEP_TAG: "charge", "resonate:scope": "local", "resonate:branch": "gone.a", "resonate:parent": "gone.a"}
        in_an_hour = int((one.now() + 3600) * 1000)
        await one.engine.promises.create("gone.a:1", timeout_at=in_an_hour, param=None, tags=tags)
        await one.engine.promises.resolve("gone.a:1", None)

    return view.root_id


async def over(one: Plant, root_id: str) -> RootView:
    return view_root(await one.engine.wait_settled(root_id, seconds=PATIENCE))


@pytest.mark.parametrize(("begun", "told"), [(False, "before it had begun"), (True, "is not undone")])
async def test_a_workflow_whose_code_is_gone_is_ended(
    tmp_path: Path, engine_url: str, *, begun: bool, told: str
) -> None:
    async with plant(tmp_path, engine_url, there) as one:
        root_id = await gone(one, begun=begun)
        await request_cancel(one.engine, root_id)
        view = await over(one, root_id)

        assert view.state == "cancelled"
        assert told in json.loads(view.error or "")["message"]


@pytest.mark.parametrize("begun", [False, True])
async def test_a_workflow_whose_group_has_no_worker_is_ended_by_whoever_took_the_cancel(
    tmp_path: Path, engine_url: str, *, begun: bool
) -> None:
    async with plant(tmp_path, engine_url, there, working=False) as one:
        root_id = await gone(one, begun=begun, group="nobody")
        await request_cancel(one.engine, root_id)
        await see_through(one.engine, root_id, sleep=lambda _: pause(0.1))

        assert view_root(await one.engine.promises.get(root_id)).state == "cancelled"


async def test_a_workflow_that_runs_or_waits_is_left_to_end_by_itself(tmp_path: Path, engine_url: str) -> None:
    async with plant(tmp_path, engine_url, there) as one:
        await one.start("a")
        await one.opened("there.a:1")
        await request_cancel(one.engine, "there.a")

        assert await one.ended("a") == ("cancelled", "gave up")


async def test_a_workflow_is_not_ended_while_its_steps_change_or_a_worker_has_it(tmp_path: Path) -> None:
    async with plant(tmp_path, "memory://", there, working=False) as one:
        root = await one.engine.promises.get(await gone(one, begun=True))
        before: Any = {"steps": "1", "since": 0}

        first = await end_if_unrun(one.engine, root, steps="2", before=before)
        assert await one.engine.tasks.take(root.id, 0) is not None
        second = await end_if_unrun(one.engine, root, steps="1", before=before)
        assert first is not None
        assert second is not None
        assert (first["steps"], second["steps"]) == ("2", "1")
        assert first["since"] > 0
        assert second["since"] > 0
        assert await one.engine.tasks.take(root.id, 0) is None
        assert (await one.engine.promises.get(root.id)).state == "pending"


async def test_a_task_that_is_taken_and_given_back_again_and_again_is_nobodys(tmp_path: Path) -> None:
    async with plant(tmp_path, "memory://", there, working=False) as one:
        root = await one.engine.promises.get(await gone(one, begun=True))
        assert await one.engine.tasks.take(root.id, 0) is not None
        # At the last look it was another's, who has given it back since.
        before: Any = {"steps": "1", "since": 1, "version": -1}

        taken_since = await end_if_unrun(one.engine, root, steps="1", before=before)
        assert taken_since is not None
        assert taken_since["since"] == 1
        held_since = await end_if_unrun(one.engine, root, steps="1", before=taken_since)
        assert held_since is not None
        assert held_since["since"] > 1


class Handed:
    """Tasks of which one is looked at and taken: what is seen of it one after the other, and which take succeeds."""

    def __init__(self, *states: str, taken_at: int = 0, still_held: bool = True) -> None:
        self.states = list(states)
        self.still_held = still_held
        self.taken_at = taken_at
        self.takes = 0

    async def look(self, _: str) -> TaskState:
        return TaskState(self.states.pop(0) if len(self.states) > 1 else self.states[0], 0)

    async def take(self, *_: object) -> int | None:
        self.takes += 1

        return 0 if self.takes == self.taken_at else None

    async def end(self, *_: object) -> bool:
        return self.still_held


async def looked(one: Plant, tasks: Handed, monkeypatch: pytest.MonkeyPatch, *, steps: str = "1", idle: float) -> bool:
    """Return whether a workflow is ended that nobody has run for this number of seconds."""
    root = await one.engine.promises.get(await gone(one, begun=False))
    since = int((one.engine.clock() - idle) * 1000)
    monkeypatch.setattr(one.engine, "tasks", tasks)

    return (
        await end_if_unrun(one.engine, root, steps=steps, before={"steps": steps, "since": since, "version": 0}) is None
    )


@pytest.mark.parametrize(("steps", "ended"), [("", True), ("1", False)])
async def test_a_workflow_that_has_begun_is_given_more_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, steps: str, ended: bool
) -> None:
    async with plant(tmp_path, "memory://", there, working=False) as one:
        monkeypatch.setattr(unrun, "GRACE", 1000)
        tasks = Handed("pending", taken_at=1)

        assert await looked(one, tasks, monkeypatch, steps=steps, idle=900) == ended


@pytest.mark.parametrize("still_held", [True, False])
async def test_a_workflow_is_not_ended_by_whom_its_task_was_taken_from_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, still_held: bool
) -> None:
    async with plant(tmp_path, "memory://", there, working=False) as one:
        tasks = Handed("pending", taken_at=1, still_held=still_held)

        assert await looked(one, tasks, monkeypatch, idle=900) == still_held
        assert (await one.engine.promises.get("gone.a")).state == "pending"


async def test_a_task_that_is_handed_to_somebody_again_and_again_is_taken_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with plant(tmp_path, "memory://", there, working=False) as one:
        assert await looked(one, Handed("pending", taken_at=7), monkeypatch, idle=900)


async def test_a_workflow_that_somebody_runs_after_all_is_left_to_them_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with plant(tmp_path, "memory://", there, working=False) as one:
        tasks = Handed("pending", "suspended")

        assert not await looked(one, tasks, monkeypatch, idle=900)
        assert tasks.takes == 1


async def test_a_cancel_of_nothing_is_over(tmp_path: Path) -> None:
    async with plant(tmp_path, "memory://", there, working=False) as one:
        assert await pursue(one.engine, "there.a") is None

        with pytest.raises(UnknownPromise):
            await request_cancel(one.engine, "there.a")
