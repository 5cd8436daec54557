"""One page of every kind that the console has, behind a service in which everything has happened that they can show."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from support.approving import ADA, BOB, CAT, Consultation, consult
from support.browsing import served
from support.configuration import API_KEY
from support.plant import PATIENCE, pause

from orchestrator import Context, StepFailed, WorkflowFailed, open_callback, run_workflow, step, workflow
from orchestrator.databricks.jobs import Databricks
from orchestrator.databricks.sdk import connect as connect_workspace
from orchestrator.testing.emulator.jobs_api import Emulator
from orchestrator.testing.emulator.workspace import Job
from orchestrator.workflows import databricks_pipeline

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from support.approving import Desk

HOLDS = 7
MARKUP = "<script>alert(1)</script>\u202e"

#: A page of each kind below the console, by its name. None of them fetches itself again while a test looks at it.
PAGES: Mapping[str, str] = {
    "overview": "?updates=off",
    "waits": "/waits",
    "workflows": "/workflows",
    "workflows, filtered": "/workflows?state=failed&since=2026-11-01",
    "find": "/find",
    "find, many": "/find?q=many",
    "find, nothing": "/find?q=nothing.there",
    "run, waiting": "/workflows/consult/waiting?updates=off",
    "run, decided": "/workflows/consult/decided",
    "run, failed": "/workflows/breaks/1",
    "run, retrying": "/workflows/retries/1?updates=off",
    "run, cancelled": "/workflows/consult/cancelled",
    "run, Databricks": "/workflows/databricks_pipeline/1?updates=off",
    "run, sub-workflows": "/workflows/parent/1?updates=off",
    "run, a thousand steps": "/workflows/long/1?updates=off",
    "run, a megabyte": "/workflows/consult/megabyte?updates=off",
    "run, markup": "/workflows/consult/a:b@c%2Bd-_.e?updates=off",
    "wait, open": "/workflows/consult/waiting/steps/1",
    "wait, decided": "/workflows/consult/decided/steps/1",
    "wait, a megabyte": "/workflows/consult/megabyte/steps/1",
    "wait, markup": "/workflows/consult/a:b@c%2Bd-_.e/steps/1",
    "wait, machine": "/workflows/long/1/steps/1001",
    "answer": "/workflows/consult/waiting/steps/1/answer",
    "answer, machine": "/workflows/long/1/steps/1001/answer",
    "remind": "/workflows/consult/waiting/steps/1/remind",
    "cancel": "/workflows/consult/waiting/cancel",
    "start again": "/workflows/consult/decided/again",
    "zone": "/zone",
    "refused: no such run": "/workflows/consult/none",
    "refused: an id of markup": "/workflows/consult/%3Cscript%3Ealert(1)%3C%2Fscript%3E",
    "refused: a filter": "/workflows?state=none",
}


@step(tries=3)
async def load_orders(_: Context) -> None:
    raise OSError("the warehouse closed the connection")


@step
async def count_orders(_: Context) -> int:
    return 3


async def nothing(_: Context) -> None:
    pass


@workflow(name="breaks")
async def breaks(ctx: Context, _: Consultation) -> None:
    await ctx.run(count_orders)

    try:
        await ctx.run(load_orders)
    except StepFailed as error:
        raise WorkflowFailed("the orders could not be loaded", table="sales.orders") from error


@step(tries=100)
async def retry_forever(_: Context) -> None:
    raise OSError("the warehouse closed the connection")


@workflow(name="retries")
async def retries(ctx: Context, _: Consultation) -> None:
    await ctx.run(retry_forever)


@workflow(name="parent")
async def parent(ctx: Context, _: Consultation) -> None:
    await run_workflow(ctx, consult, Consultation(people=["hal@example.org"], title="Is the order complete?"))


@workflow(name="long")
async def long(ctx: Context, _: Consultation) -> None:
    for _number in range(1000):
        await ctx.run(nothing)

    await (await open_callback(ctx, "answer", subject="the warehouse"))


@workflow(name="other")
async def other(_: Context, __: Consultation) -> None:
    pass


@contextlib.asynccontextmanager
async def console_pages(directory: Path) -> AsyncIterator[tuple[Desk, str]]:
    """Run a service in which all of `PAGES` have something to show; yield it and the console's address."""
    shown = (consult, breaks, retries, parent, long, other, databricks_pipeline)

    with Emulator(jobs={HOLDS: Job(fate="hold")}) as emulator:
        databricks = Databricks(lambda: connect_workspace(host=emulator.url, token=emulator.token))

        async with served(directory, workflows=shown, databricks=databricks) as (desk, url):
            await _happen(desk)
            yield desk, f"{url}/console"


async def _happen(desk: Desk) -> None:
    big = f"{MARKUP} é " * 40_000
    await desk.start(long, "1")
    await desk.start(retries, "1")
    await desk.start(breaks, "1")
    await desk.start(parent, "1")
    await desk.start(databricks_pipeline, "1", job_id=HOLDS)

    await desk.ask("waiting", people=[ADA, BOB], title="Ship order 42 to the warehouse in Gothenburg?")
    decided = await desk.post(await desk.ask("decided", people=[CAT]), "reject", comment=f"Not yet. {MARKUP}")
    assert decided.status_code == 303
    await desk.ask("cancelled", people=["dan@example.org"])
    await desk.client.delete("/workflows/consult/cancelled", headers={"Authorization": f"Bearer {API_KEY}"})
    await desk.ask("megabyte", people=["eve@example.org"], title=big, text=big, facts=[("a", big[:5000])] * 50)
    await desk.ask(
        "a:b@c+d-_.e",
        people=["fay@example.org"],
        title=MARKUP,
        text=f"{MARKUP}\n\n- one\n- two",
        facts=[(MARKUP, "y" * 300)],
        links=[("The contract", "https://docs.example.org/" + "contract/" * 20)],
    )

    await desk.start(other, "many")
    await desk.ask("many", people=["gus@example.org"])

    for run, name in (("1", "breaks"), ("decided", "consult"), ("cancelled", "consult"), ("many", "other")):
        ended = await desk.ended(run, name)
        assert ended["state"] != "running", ended

    await _until(desk, "/workflows/long/1?steps=1&after=long.1:1000", '"answer"')
    await _until(desk, "/workflows/retries/1?steps=1", '"tries"')
    await _until(desk, "/workflows/databricks_pipeline/1?steps=1", '"succeeded"')


async def _until(desk: Desk, path: str, text: str) -> None:
    """Return once the API's answer has this text."""
    for _ in range(int(PATIENCE * 20)):
        if text in (await desk.client.get(path, headers={"Authorization": f"Bearer {API_KEY}"})).text:
            return

        await pause(0.05)

    raise TimeoutError(path)
