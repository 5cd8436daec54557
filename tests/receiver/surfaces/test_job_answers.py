"""What the record of a job's wait says of its answers, over the API: a note on a success, and a later answer."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from support.edge import AUTHORISED
from support.plant import Plant, pause, plant

from orchestrator.callbacks.address import Links
from orchestrator.callbacks.claims import Claims
from orchestrator.testing.emulator.workspace import Job, Task
from receiver.app import create_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

HOLDS, TWO = 1, 2
JOBS = {
    HOLDS: Job(fate="hold"),
    TWO: Job(
        tasks={
            "load": Task(fate="fails"),
            "clean": Task(fate="succeeds", depends_on=("load",), run_if="ALL_DONE", output="3"),
        }
    ),
}


@contextlib.asynccontextmanager
async def served(folder: Path, engine_url: str) -> AsyncIterator[tuple[Plant, httpx2.AsyncClient]]:
    async with plant(folder, engine_url, jobs=JOBS) as works:
        app = create_app(works.settings, works.engine, {"databricks_pipeline": works.workflow})
        transport = httpx2.ASGITransport(app=app)

        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000", timeout=30) as client:
            yield works, client


async def wait_of(client: httpx2.AsyncClient, workflow_id: str) -> dict[str, Any]:
    path = f"/workflows/databricks_pipeline/{workflow_id}?steps=1"
    document = (await client.get(path, headers=AUTHORISED)).json()
    step: dict[str, Any] = document["steps"][0]

    return step


@pytest.mark.usefixtures("hurried")
async def test_a_later_answer_is_shown_beside_the_one_that_counts(tmp_path: Path, engine_url: str) -> None:
    async with served(tmp_path, engine_url) as (works, client):
        await works.start("a", job_id=HOLDS, answer="either", watch_interval=1)
        (run,) = await works.triggered(1)
        link = run.parameters["callback_url"]
        failure = {"message": "no input"}
        assert (await client.post(f"{link}/failure", json=failure)).status_code == 200
        assert (await works.ended("a"))[1]["message"] == "no input"
        works.emulator.workspace.move(run.run_id, "TERMINATED", "SUCCESS", output="3")

        while "later" not in (step := await wait_of(client, "a")):
            await pause(0.05)

        assert step["settled"] == {"outcome": "failed", "by": "callback"}
        assert step["later"] == {"outcome": "succeeded", "by": "watcher"}


@pytest.mark.usefixtures("hurried")
async def test_a_callback_after_the_run_s_end_is_409_and_kept(tmp_path: Path) -> None:
    async with served(tmp_path, "memory://") as (works, client):
        await works.start("a", job_id=HOLDS, answer="either", watch_interval=1)
        (run,) = await works.triggered(1)
        works.emulator.workspace.move(run.run_id, "TERMINATED", "SUCCESS", output="3")
        assert (await works.ended("a"))[1]["result"] == 3

        answer = await client.post(f"{run.parameters['callback_url']}/failure", json={"message": "no input"})
        assert (answer.status_code, answer.json()["by"]) == (409, "watcher")
        step = await wait_of(client, "a")
        assert step["settled"] == {"outcome": "succeeded", "by": "watcher"}
        assert step["later"] == {"outcome": "failed", "by": "callback", "message": "no input"}

        page = await client.get(
            "/workflows/databricks_pipeline/a", headers={**AUTHORISED, "Accept": "text/html"}, follow_redirects=True
        )
        assert "a later answer by the callback changed nothing: failed no input" in page.text


@pytest.mark.usefixtures("hurried")
async def test_a_success_with_failures_says_so(tmp_path: Path) -> None:
    async with served(tmp_path, "memory://") as (works, client):
        await works.start("a", job_id=TWO, answer="run", watch_interval=1)
        state, result = await works.ended("a")

        assert (state, result["result"]) == ("succeeded", 3)
        assert result["note"] == "these tasks did not succeed: load"
        assert (await wait_of(client, "a"))["settled"]["note"] == result["note"]


@pytest.mark.usefixtures("hurried")
async def test_no_token_settles_a_wait_that_only_the_run_answers(tmp_path: Path) -> None:
    async with served(tmp_path, "memory://") as (works, client):
        await works.start("a", job_id=HOLDS, answer="run", watch_interval=1)
        (run,) = await works.triggered(1)
        wait = await works.engine.promises.get(f"{works.root('a')}:1")
        links: Links = works.engine.resonate._deps.get(Links)
        # Nothing of ours mints this one.
        link = links.url(
            Claims(
                promise_id=wait.id,
                callback="run-1",
                audience="machine",
                subject=f"job {HOLDS}",
                outcomes=("succeeded", "failed"),
                expires_at=wait.timeout_at // 1000,
                opened_at=wait.created_at,
            )
        )
        answer = await client.post(link, json=1)
        assert (answer.status_code, answer.json()["type"]) == (410, "urn:countersign:expired")

        works.emulator.workspace.move(run.run_id, "TERMINATED", "SUCCESS", output="3")
        assert (await works.ended("a"))[1]["result"] == 3
