"""Databricks' notifications as hints, on every engine: a dead job is noticed at once, and nothing else is trusted."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from support.configuration import settings
from support.edge import problem
from support.plant import Plant, pause, plant
from support.senders import as_databricks, senders, sources_file

from orchestrator.testing.emulator.workspace import Fault, Job
from receiver.app import create_app

HOLDS, OTHER = 1, 2
JOBS = {HOLDS: Job(fate="hold"), OTHER: Job(fate="hold")}

#: The watcher's next poll is far away, so whatever these tests notice is due to a hint.
FAR = {"watch_interval": 86400}


@dataclass
class Bricks:
    """A workspace with its worker, and the receiver that gets its notifications."""

    works: Plant
    client: httpx2.AsyncClient
    password: str

    async def tell(self, body: object, *, password: str | None = None, path: str = "") -> httpx2.Response:
        headers = as_databricks(password or self.password, "", 0)
        return await self.client.post(f"/webhooks/databricks{path}", content=json.dumps(body), headers=headers)

    async def started(self, workflow_id: str = "a") -> Any:
        """Start a pipeline and return its run."""
        await self.works.start(workflow_id, job_id=HOLDS, **FAR)
        return await self.run_of(workflow_id)

    async def run_of(self, workflow_id: str) -> Any:
        for _ in range(1500):
            for run in self.works.emulator.workspace.runs():
                steps = await self.works.steps(workflow_id)
                # Triggered, and the step that did so is over.
                if len(steps) > 1 and {step.state for step in steps[1:]} == {"resolved"}:
                    return run

            await pause(0.02)

        pytest.fail("the job was not triggered")

    def dies(self, run_id: int) -> None:
        self.works.emulator.workspace.move(run_id, "TERMINATED", "FAILED", "The cluster was lost")


def notification(run_id: object, event: str = "jobs.on_failure") -> dict[str, Any]:
    return {"event_type": event, "workspace_id": 1, "run": {"run_id": run_id}, "job": {"job_id": 1, "name": "nightly"}}


@pytest.fixture
async def bricks(tmp_path: Path, engine_url: str) -> AsyncIterator[Bricks]:
    async with assembled(tmp_path, engine_url) as one:
        yield one


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Bricks]:
    async with assembled(tmp_path, "memory://") as one:
        yield one


def assembled(folder: Path, engine_url: str) -> Any:
    return contextlib.asynccontextmanager(_assembled)(folder, engine_url)


async def _assembled(folder: Path, engine_url: str) -> AsyncIterator[Bricks]:
    known = {"databricks": senders()["databricks"]}
    chosen = settings(folder, SOURCES=sources_file(folder, known))
    async with plant(folder, engine_url, jobs=JOBS) as works:
        app = create_app(chosen, works.engine, {})
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000", timeout=30) as client:
            yield Bricks(works, client, known["databricks"].secret)


async def test_a_job_that_died_is_noticed_by_its_notification(bricks: Bricks) -> None:
    run = await bricks.started()
    bricks.dies(run.run_id)
    answer = await bricks.tell(notification(run.run_id))

    assert (answer.status_code, answer.json()) == (200, {"state": "prompted"})
    state, error = await bricks.works.ended("a")
    assert (state, error["outcome"], error["run_id"]) == ("failed", "died", run.run_id)
    assert error["details"]["state_message"] == "The cluster was lost"


@pytest.mark.parametrize("body", ["text", "task"])
async def test_a_run_may_be_named_in_text_and_by_its_task(here: Bricks, body: str) -> None:
    run = await here.started()
    here.dies(run.run_id)
    told = notification(str(run.run_id))

    if body == "task":
        told["run"] = {"run_id": 1, "parent_run_id": run.run_id}

    assert (await here.tell(told)).status_code == 200
    assert (await here.works.ended("a"))[1]["outcome"] == "died"


async def test_a_notification_that_overtakes_the_jobs_api_is_followed_for_a_while(here: Bricks) -> None:
    run = await here.started()
    await here.tell(notification(run.run_id))
    await pause(0.5)
    here.dies(run.run_id)

    assert (await here.works.ended("a"))[1]["outcome"] == "died"


async def test_a_failed_poll_is_repeated(here: Bricks) -> None:
    run = await here.started()
    here.works.emulator.workspace.fail_next(Fault(kind="garbage", on="runs/get", count=1))
    here.dies(run.run_id)
    await here.tell(notification(run.run_id))

    assert (await here.works.ended("a"))[1]["outcome"] == "died"


async def test_what_a_notification_says_is_not_believed(here: Bricks) -> None:
    run = await here.started()

    for event in ("jobs.on_failure", "jobs.on_success"):
        assert (await here.tell(notification(run.run_id, event))).status_code == 200

    await looked(here, run.run_id, 2)
    assert (await here.works.engine.promises.get("databricks_pipeline.a:1")).state == "pending"


async def test_a_callback_that_came_first_stands(here: Bricks) -> None:
    run = await here.started()
    await here.works.answer("databricks_pipeline.a:1", "5", name="run-1")
    here.dies(run.run_id)
    await here.tell(notification(run.run_id))

    assert await here.works.ended("a") == (
        "succeeded",
        {"run_id": run.run_id, "outcome": "succeeded", "result": 5},
    )


async def test_the_end_of_another_jobs_run_with_a_stolen_link_settles_nothing(here: Bricks) -> None:
    run = await here.started()
    link = run.parameters["callback_url"]
    workspace = here.works.emulator.workspace
    thief = workspace.run_now({"job_id": OTHER, "job_parameters": {"callback_url": link}})["run_id"]
    here.dies(thief)
    await here.tell(notification(thief))

    await looked(here, thief, 1)
    await pause(0.2)
    assert (await here.works.engine.promises.get("databricks_pipeline.a:1")).state == "pending"


@pytest.mark.parametrize("parameters", [{}, {"callback_url": ""}, {"callback_url": "https://x/callbacks/forged"}])
async def test_a_run_without_a_token_of_ours_settles_nothing(here: Bricks, parameters: dict[str, str]) -> None:
    foreign = here.works.emulator.workspace.run_now({"job_id": OTHER, "job_parameters": parameters})["run_id"]
    here.dies(foreign)

    assert (await here.tell(notification(foreign))).status_code == 200
    await looked(here, foreign, 1)


async def test_a_run_that_databricks_does_not_know_is_taken_and_changes_nothing(here: Bricks) -> None:
    assert (await here.tell(notification(4711))).status_code == 200
    await looked(here, 4711, 1)


NO_RUNS: list[object] = [None, 0, -1, "x", "1 2", "", True, 1.5, "9" * 20, {}]


@pytest.mark.parametrize("body", [{}, [], 1, None, *map(notification, NO_RUNS)])
async def test_a_notification_without_a_run_is_malformed(here: Bricks, body: object) -> None:
    problem(await here.tell(body), 400, "malformed-body")


async def test_without_the_password_nothing_is_looked_at(here: Bricks) -> None:
    run = await here.started()
    here.dies(run.run_id)
    seen = len(here.works.emulator.workspace.requests)

    for password in (f"databricks:{secrets.token_urlsafe(24)}", here.password[:-1], "x" + here.password):
        answer = await here.tell(notification(run.run_id), password=password)
        problem(answer, 401, "invalid-signature")
        assert answer.headers["www-authenticate"].startswith("Basic ")

    await pause(0.3)
    assert len(here.works.emulator.workspace.requests) == seen
    assert (await here.works.engine.promises.get("databricks_pipeline.a:1")).state == "pending"


async def test_a_hint_takes_no_token(here: Bricks) -> None:
    run = await here.started()
    token = run.parameters["callback_url"].rpartition("/")[2]

    problem(await here.tell(notification(run.run_id), path=f"/{token}"), 400, "bad-token")


async def looked(here: Bricks, run_id: int, times: int) -> None:
    """Return once the run was read so often since its trigger."""
    for _ in range(1500):
        asked = [one for one in here.works.emulator.workspace.requests if one["path"] == "runs/get"]

        if len([one for one in asked if str(one.get("run_id")) == str(run_id)]) >= times:
            return

        await pause(0.02)

    pytest.fail("the run was not polled")
