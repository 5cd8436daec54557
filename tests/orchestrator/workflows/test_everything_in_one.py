"""A workflow with everything in it, in a trial: each way in which it ends, with a crash at every recorded change."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.catalogue import Outside, catalogue

from orchestrator import WorkflowCancelled, WorkflowFailed
from orchestrator.testing import Trial

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchestrator.testing.trial.runs import Run

EDITORS = ["ada@example.org", "grace@example.org"]
SPRING: dict[str, Any] = {"issue": "spring", "copies": 100, "job_id": 7, "editors": EDITORS}
BOTH = pytest.mark.parametrize("everywhere", [False, True])


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Outside]:
    with Outside(tmp_path / "outside.db") as world:
        yield world


async def asked(trial: Trial, **changes: object) -> Run:
    """Return a run whose deposit is paid, at the second try, so that the editors are asked."""
    run = await trial.start(catalogue, SPRING | changes, "spring")
    await trial.advance(timedelta(seconds=1))
    return run


async def approve(run: Run) -> None:
    for editor in EDITORS:
        await (await run.waiting("editors")).decide("approve", by=editor)


async def price(run: Run) -> None:
    await (await run.waiting("run-1")).succeed({"tea": 300})


async def pipeline_of(trial: Trial, run: Run) -> Run:
    """Return the sub-workflow."""
    (child,) = [step.child for step in await run.steps() if step.child is not None]
    return trial.run(*child)


def undone(outside: Outside) -> bool:
    """Whether each thing that was done was undone."""
    charged, refunded = outside.effects("charge").keys(), outside.effects("refund").keys()
    reserved, released = outside.effects("reserve").keys(), outside.effects("release").keys()
    return charged == refunded and reserved == released


@BOTH
async def test_it_is_printed_and_delivered(outside: Outside, everywhere: bool) -> None:  # noqa: FBT001
    async with Trial(catalogue, dependencies=[outside], crash_everywhere=everywhere) as trial:
        run = await asked(trial)
        await approve(run)
        await price(run)
        await (await run.waiting("delivery")).succeed({"parcel": {"signed_for_by": "alan"}})
        await (await run.waiting("archive-1")).succeed("shelf 3")
        result = await run.result()

    assert result == {
        "sheets": 400,
        "editors": EDITORS,
        "prices": {"tea": 300},
        "run_id": trial.jobs.runs[0].run_id,
        "signed_for_by": "alan",
        "archived": "shelf 3",
    }
    assert [job.parameters.get("task") for job in trial.jobs.runs] == [None, "archive"]
    assert len(outside.effects("charge")) == len(outside.effects("reserve")) == 1
    assert outside.effects("refund") == outside.effects("release") == {}
    assert {mail.to for mail in trial.mail} == set(EDITORS)


@BOTH
async def test_when_its_own_job_dies_everything_is_undone(outside: Outside, everywhere: bool) -> None:  # noqa: FBT001
    async with Trial(catalogue, dependencies=[outside], crash_everywhere=everywhere) as trial:
        run = await asked(trial)
        await approve(run)
        await price(run)
        await (await run.waiting("delivery")).succeed({"parcel": {"signed_for_by": "alan"}})
        trial.jobs.die(trial.jobs.runs[-1].run_id)
        await trial.advance(timedelta(seconds=3))

        with pytest.raises(WorkflowFailed) as raised:
            await run.result()

    assert raised.value.error["outcome"] == "died"
    assert undone(outside)


@BOTH
async def test_when_an_editor_rejects_it_everything_is_undone_and_the_job_cancelled(
    outside: Outside,
    everywhere: bool,  # noqa: FBT001
) -> None:
    async with Trial(catalogue, dependencies=[outside], crash_everywhere=everywhere) as trial:
        run = await asked(trial)
        await (await run.waiting("editors")).decide("reject", by=EDITORS[1], comment="Not this year.")

        with pytest.raises(WorkflowFailed, match="the editors: reject"):
            await run.result()

        assert await (await pipeline_of(trial, run)).state() == "cancelled"

    assert undone(outside)
    assert [job.result_state for job in trial.jobs.runs] == ["CANCELED"]


@BOTH
@pytest.mark.parametrize("moment", ["paying", "asking", "pricing", "delivering"])
async def test_when_it_is_cancelled_everything_is_undone_and_the_job_cancelled(
    outside: Outside,
    moment: str,
    everywhere: bool,  # noqa: FBT001
) -> None:
    async with Trial(catalogue, dependencies=[outside], crash_everywhere=everywhere) as trial:
        run = await trial.start(catalogue, SPRING)

        if moment != "paying":
            await trial.advance(timedelta(seconds=1))

        if moment in {"pricing", "delivering"}:
            await approve(run)

        if moment == "delivering":
            await price(run)

        await run.cancel()
        await trial.advance(timedelta(minutes=2))

        with pytest.raises(WorkflowCancelled):
            await run.result()

        assert await (await pipeline_of(trial, run)).state() == ("succeeded" if moment == "delivering" else "cancelled")

    assert undone(outside)
    assert [job.result_state for job in trial.jobs.runs] == [None if moment == "delivering" else "CANCELED"]


@BOTH
async def test_when_the_job_dies_everything_is_undone(outside: Outside, everywhere: bool) -> None:  # noqa: FBT001
    async with Trial(catalogue, dependencies=[outside], crash_everywhere=everywhere) as trial:
        run = await asked(trial)
        trial.jobs.die(trial.jobs.runs[0].run_id)
        await trial.advance(timedelta(seconds=3))
        await approve(run)

        with pytest.raises(WorkflowFailed) as raised:
            await run.result()

    assert raised.value.error["outcome"] == "died"
    assert undone(outside)


@BOTH
async def test_when_it_is_never_delivered_everything_is_undone(outside: Outside, everywhere: bool) -> None:  # noqa: FBT001
    async with Trial(catalogue, dependencies=[outside], crash_everywhere=everywhere) as trial:
        run = await asked(trial)
        await approve(run)
        await price(run)
        await trial.advance(timedelta(days=10))

        with pytest.raises(WorkflowFailed, match="it was not delivered: expired"):
            await run.result()

    assert undone(outside)


@BOTH
async def test_what_the_bank_refuses_is_tried_once_and_nothing_is_undone(outside: Outside, everywhere: bool) -> None:  # noqa: FBT001
    async with Trial(catalogue, dependencies=[outside], crash_everywhere=everywhere) as trial:
        run = await asked(trial, copies=1_000_000)

        with pytest.raises(WorkflowFailed, match=r"CardRefused: pay_deposit at catalogue\.py:"):
            await run.result()

    assert outside.effects("charge") == outside.effects("refund") == {}
    assert [job.result_state for job in trial.jobs.runs] == ["CANCELED"]
