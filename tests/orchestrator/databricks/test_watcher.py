"""The watcher, on every engine: it finds a run that died without calling back, and a callback that came first wins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.plant import Plant, pause, plant

from orchestrator.testing.emulator.workspace import Fault, Job

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

HOLDS = 1
QUICK = {"watch_interval": 1}


@pytest.fixture
async def works(tmp_path: Path, engine_url: str) -> AsyncIterator[Plant]:
    async with plant(tmp_path, engine_url, jobs={HOLDS: Job(fate="hold")}) as one:
        yield one


@pytest.mark.usefixtures("hurried")
async def test_a_run_that_dies_later_is_found_by_the_watcher(works: Plant) -> None:
    await works.start("a", job_id=HOLDS, **QUICK)
    (run,) = await works.triggered(1)
    await pause(1.2)
    works.emulator.workspace.move(run.run_id, "INTERNAL_ERROR", "FAILED", "The cluster was lost")

    state, error = await works.ended("a")
    assert (state, error["outcome"]) == ("failed", "died")
    assert error["details"]["state_message"] == "The cluster was lost"


@pytest.mark.usefixtures("hurried")
async def test_a_deleted_run_has_died(works: Plant) -> None:
    await works.start("a", job_id=HOLDS, **QUICK)
    (run,) = await works.triggered(1)
    works.emulator.workspace.move(run.run_id, "TERMINATED", "FAILED")
    works.emulator.workspace.delete({"run_id": run.run_id})

    state, error = await works.ended("a")
    assert (state, error["outcome"]) == ("failed", "died")


@pytest.mark.usefixtures("hurried")
async def test_a_watcher_that_cannot_ask_goes_on_asking(works: Plant) -> None:
    await works.start("a", job_id=HOLDS, **QUICK)
    (run,) = await works.triggered(1)
    works.emulator.workspace.fail_next(Fault(kind="status", on="runs/get", count=2, status=403))
    works.emulator.workspace.move(run.run_id, "TERMINATED", "FAILED")

    assert (await works.ended("a"))[1]["outcome"] == "died"


async def test_a_callback_that_arrives_before_the_watcher_wins(works: Plant) -> None:
    await works.start("a", job_id=HOLDS, **QUICK)
    (run,) = await works.triggered(1)
    await works.answer(f"{works.root('a')}:1", "1", name="run-1")
    works.emulator.workspace.move(run.run_id, "TERMINATED", "FAILED")

    assert (await works.ended("a"))[0] == "succeeded"
