"""The link from a run's page to the run in Databricks: the address that Databricks gave, or else one of our making."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support.edge import Question, edge, put
from support.plant import pause, plant
from support.signing_in import signed_in

from orchestrator import Context, workflow
from orchestrator.config.secret import Secret
from orchestrator.testing.emulator.workspace import Fault, Job
from receiver.app import create_app

if TYPE_CHECKING:
    from pathlib import Path

    from support.plant import Plant

HOLDS = 7


async def linked(works: Plant, workflow_id: str, *, host: str | None = None) -> tuple[str, str]:
    """Start a job, and return where the page of its run leads to, and the text of that link.

    `host` is the address of the workspace as the receiver knows it.
    """
    await works.start(workflow_id, job_id=HOLDS)
    known = {} if host is None else {"DATABRICKS_HOST": Secret(host)}
    app = create_app(replace(works.settings, databricks=known), works.engine, {works.workflow.name: works.workflow})
    window = await signed_in(app)

    while (found := shown((await window.get(f"/workflows/{works.workflow.name}/{workflow_id}")).text)) is None:
        await pause(0.05)

    return found


def shown(page: str) -> tuple[str, str] | None:
    found = re.search(
        r'<small class="said">(?:<a href="([^"]*)" rel="noopener noreferrer nofollow">)?(Databricks run [^<]*)', page
    )

    return None if found is None else (html.unescape(found[1] or ""), found[2])


async def test_a_run_is_linked_to_the_address_that_databricks_gave(tmp_path: Path, engine_url: str) -> None:
    async with plant(tmp_path, engine_url, jobs={HOLDS: Job(fate="hold")}) as works:
        href, text = await linked(works, "a", host="https://gateway.example/databricks")
        (run,) = works.emulator.workspace.runs()

        assert text == f"Databricks run {run.run_id} of job {HOLDS}"
        assert href == f"{works.emulator.url}/?o=1#job/{HOLDS}/run/{run.run_id}"


@pytest.mark.parametrize(
    ("host", "base", "query"),
    [
        ("https://adb-1.2.azuredatabricks.net/?o=1", "https://adb-1.2.azuredatabricks.net", "?o=1"),
        ("dbc-1.cloud.databricks.com", "https://dbc-1.cloud.databricks.com", ""),
        (None, None, ""),
        ("javascript://alert", None, ""),
    ],
)
async def test_without_that_the_address_is_made_of_the_workspace_the_job_and_the_run(
    tmp_path: Path, host: str | None, base: str | None, query: str
) -> None:
    async with plant(tmp_path, "memory://", jobs={HOLDS: Job(fate="hold")}) as works:
        works.emulator.workspace.fail_next(
            Fault(kind="status", on="runs/get", status=403, error_code="PERMISSION_DENIED", message="no")
        )
        href, _ = await linked(works, "a", host=host)
        (run,) = works.emulator.workspace.runs()

        assert href == ("" if base is None else f"{base}/jobs/{HOLDS}/runs/{run.run_id}{query}")


@pytest.mark.parametrize("page", ["javascript:alert(1)", "//evil.example", "https://a\n", 7])
async def test_a_step_of_the_same_name_cannot_make_a_link_of_anything(tmp_path: Path, page: object) -> None:
    async def trigger_job(_: Context) -> object:
        return {"run_id": 1, "job_id": 2, "page": page}

    @workflow(name="odd")
    async def odd(ctx: Context, _request: Question) -> None:
        await ctx.run(trigger_job)

    async with edge(tmp_path, workflows=[odd]) as here:
        await put(here, "/workflows/odd/1", body={}, Prefer="wait=20")
        window = await signed_in(here.app)

        assert shown((await window.get("/workflows/odd/1")).text) == ("", "Databricks run 1 of job 2")
