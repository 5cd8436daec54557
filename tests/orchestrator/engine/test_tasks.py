"""The task behind a workflow, on every engine: its state, and taking it so that no worker can."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from resonate.error import ServerError
from support.plant import plant

from orchestrator.engine.tasks import Tasks
from orchestrator.errors import EngineUnavailable
from orchestrator.runs.roots import start_root

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_pending_task_can_be_taken_once_and_ends_with_its_promise(tmp_path: Path, engine_url: str) -> None:
    async with plant(tmp_path, engine_url, working=False) as one:
        tasks = one.engine.tasks
        await start_root(one.engine, name="gone", workflow_id="a", text="{}", group="nobody", timeout=timedelta(days=1))
        found = await tasks.look("gone.a")

        assert found is not None
        assert found.state == "pending"
        lease = await tasks.take("gone.a", found.version)
        assert lease is not None
        assert await tasks.take("gone.a", found.version) is None
        taken = await tasks.look("gone.a")
        assert taken is not None
        assert taken.state == "acquired"

        assert not await tasks.end("gone.a", lease + 1, "not this")
        assert await tasks.end("gone.a", lease, "this")
        assert (await one.engine.promises.get("gone.a")).value.data == "this"
        over = await tasks.look("gone.a")
        assert over is not None
        assert over.state == "fulfilled"
        assert await tasks.look("nobody.1") is None
        assert await tasks.take("nobody.1", 0) is None
        assert not await tasks.end("nobody.1", 0, None)


@pytest.mark.parametrize("error", [ServerError(500, "broken"), TimeoutError(), ValueError("not a task")])
async def test_an_engine_without_a_usable_reply_is_unavailable(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("orchestrator.engine.tasks.read_task", fail)
    client: object = None

    with pytest.raises(EngineUnavailable):
        await Tasks(client, seconds=1).look("gone.a")  # type: ignore[arg-type]
