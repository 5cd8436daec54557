"""A pipeline whose id is used again after the engine forgot the first one: the first one never reaches the second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.engines import KINDS
from support.forgetting import Forgetful, forgetful
from support.plant import PATIENCE, Plant, pause, plant

from orchestrator.databricks.hints import request_poll
from orchestrator.databricks.run import idempotency_token
from orchestrator.databricks.watcher import POLL
from orchestrator.durable import context
from orchestrator.durable.opened_at import MARK, companion_id
from orchestrator.durable.scheduling import create_task
from orchestrator.errors import UnknownPromise
from orchestrator.mail.mailer import Mailer
from orchestrator.runs import roots
from orchestrator.runs.cancel_record import CANCEL, cancel_ids
from orchestrator.runs.cancellation import request_cancel
from orchestrator.stored_names import STEP_TAG
from orchestrator.testing.emulator.workspace import Job

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchestrator.mail.message import Message

HOLDS = 1
JOBS = {HOLDS: Job(fate="hold")}


@pytest.fixture(params=KINDS)
def forgets(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Forgetful]:
    with forgetful(request.param, request, tmp_path) as one:
        yield one


async def run_of(works: Plant, count: int) -> Any:
    """Return the workspace's latest run once there are so many."""
    for _ in range(int(PATIENCE * 50)):
        if len(runs := works.emulator.workspace.runs()) >= count:
            return runs[count - 1]

        await pause(0.02)

    pytest.fail("the job was not triggered")


async def is_over(works: Plant, promise_id: str) -> None:
    """Return once this task is over, or forgotten because it is."""
    try:
        record = await works.engine.wait_settled(promise_id, seconds=PATIENCE)
    except UnknownPromise:
        return

    assert record.state != "pending"


async def test_it_has_a_run_of_its_own_and_the_first_run_s_end_is_not_its_end(
    tmp_path: Path, forgets: Forgetful
) -> None:
    async with plant(tmp_path, forgets.url, jobs=JOBS) as works:
        wait_id = f"{works.root('a')}:1"
        await works.start("a", job_id=HOLDS, watch_interval=3)
        first = await run_of(works, 1)
        earlier = await works.engine.promises.get(wait_id)
        await works.answer(wait_id, name="run-1")
        await forgets.forget(works.engine, works.root("a"))

        await works.start("a", job_id=HOLDS, watch_interval=3)
        second = await run_of(works, 2)
        later = await works.engine.promises.get(wait_id)
        assert (second.run_id, second.idempotency_token) != (first.run_id, first.idempotency_token)
        assert second.idempotency_token == idempotency_token(later.id, later.created_at)

        works.emulator.workspace.move(first.run_id, "TERMINATED", "FAILED")
        await request_poll(works.engine, first.run_id, group="default", new_nonce=lambda: "hint")
        await is_over(works, f"countersign~run{first.run_id}.hint")
        await is_over(works, companion_id(earlier, "look0"))
        assert (await works.engine.promises.get(wait_id)).state == "pending"

        works.emulator.workspace.move(second.run_id, "TERMINATED", "FAILED")
        state, error = await works.ended("a")
        assert (state, error["outcome"], error["run_id"]) == ("failed", "died", second.run_id)


async def test_the_first_one_s_cancel_is_not_its_cancel(
    tmp_path: Path, forgets: Forgetful, monkeypatch: pytest.MonkeyPatch
) -> None:
    message_ids = []

    async def send(_: Mailer, _message: Message, *, message_id: str) -> None:
        message_ids.append(message_id)

    monkeypatch.setattr(Mailer, "send", send)

    async with plant(tmp_path, forgets.url, jobs=JOBS) as works:
        root_id = works.root("a")
        await works.start("a", job_id=HOLDS, notify="ops@example.org")
        await run_of(works, 1)
        *_, cancel = cancel_ids(await works.engine.promises.get(root_id))
        await request_cancel(works.engine, root_id)
        assert (await works.ended("a"))[0] == "cancelled"
        # The task that drives the cancel is still asleep when the workflow is forgotten.
        await forgets.forget(works.engine, root_id)

        await works.start("a", job_id=HOLDS, notify="ops@example.org")
        await run_of(works, 2)
        await is_over(works, cancel)
        assert (await works.engine.promises.get(f"{root_id}:1")).state == "pending"

        await request_cancel(works.engine, root_id)
        assert (await works.ended("a"))[0] == "cancelled"

    assert len(message_ids) == len(set(message_ids)) == 2


async def test_a_cancel_of_the_form_before_counts_for_the_workflow_that_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roots, "MARK", {})

    async with plant(tmp_path, "memory://", jobs=JOBS) as works:
        root_id = works.root("a")
        # An earlier workflow with the same id has left it behind.
        await create_task(
            works.engine,
            f"{root_id}~cancel",
            function=CANCEL,
            argument={"root": root_id},
            target=works.engine.address_of("default"),
            timeout_at=2**42,
        )
        await works.engine.wait_settled(f"{root_id}~cancel", seconds=PATIENCE)
        await pause(0.01)

        for name in ("a", "b"):
            await works.start(name, job_id=HOLDS)

        await run_of(works, 2)

        for name in ("a", "b"):
            await request_cancel(works.engine, works.root(name))
            assert (await works.ended(name))[0] == "cancelled"

        assert (await works.engine.promises.get(works.root("b") + "~cancel")).param.data is not None


async def test_a_wait_that_the_release_before_opened_keeps_its_idempotency_token_and_its_watcher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with plant(tmp_path, "memory://", jobs=JOBS) as works:
        wait_id = f"{works.root('a')}:1"
        monkeypatch.setattr(context, "MARK", {})
        await works.start("a", job_id=HOLDS, watch_interval=3600)
        run = await run_of(works, 1)
        monkeypatch.setattr(context, "MARK", MARK)
        assert run.idempotency_token == idempotency_token(wait_id)

        while not await is_triggered(works):
            await pause(0.02)

        # The watch as an engine that the previous release has used stores it.
        works.emulator.workspace.move(run.run_id, "TERMINATED", "FAILED")
        watch = {"promise_id": wait_id, "callback": "run-1", "run_id": run.run_id, "interval": 3600.0, "looks": 7}
        await create_task(
            works.engine,
            wait_id.replace(":", "~") + "~look7",
            function=POLL,
            argument={"watch": watch, "due_at": 0},
            target=works.engine.address_of("default"),
            timeout_at=2**42,
        )

        state, error = await works.ended("a")
        assert (state, error["outcome"]) == ("failed", "died")


async def is_triggered(works: Plant) -> bool:
    """Return whether the trigger is recorded: its own look at the run was before the run ended."""
    return any(
        record.tags.get(STEP_TAG) == "trigger_job" and record.state != "pending" for record in await works.steps("a")
    )
