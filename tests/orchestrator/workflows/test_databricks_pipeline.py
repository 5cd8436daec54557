"""The pipeline on every engine: one run per attempt, and it always ends, as the contract says it does."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from databricks_emulator import Fault, Job
from plant import Plant, pause, plant
from pydantic import ValidationError

from orchestrator.cancelling import request_cancel
from orchestrator.workflows.databricks_pipeline import PipelineRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from resonate.types import PromiseRecord

HOLDS, BLOCKED, SUCCEEDS, FAILS, DIES, SKIPPED, FORBIDDEN = range(1, 8)
JOBS = {
    HOLDS: Job(fate="hold"),
    BLOCKED: Job(fate="blocked"),
    SUCCEEDS: Job(fate="succeeds"),
    FAILS: Job(fate="fails"),
    DIES: Job(fate="dies"),
    SKIPPED: Job(fate="skipped"),
    FORBIDDEN: Job(fate="hold", permitted=False),
}
QUICK = {"watch_interval": 1}


@pytest.fixture
async def works(tmp_path: Path, engine_url: str) -> AsyncIterator[Plant]:
    async with plant(tmp_path, engine_url, jobs=JOBS) as one:
        yield one


def token_of(wait: PromiseRecord) -> str:
    return hashlib.sha256(f"{wait.id} {wait.created_at}".encode()).hexdigest()


async def test_a_callback_ends_it_with_the_result_and_the_run(works: Plant) -> None:
    await works.start("a", job_id=HOLDS, parameters={"day": "monday"})
    await triggered(works, 1)
    await works.answer(f"{works.root('a')}:1", '{"rows": 3}', name="run-1")

    (run,) = works.emulator.workspace.runs()
    assert await works.ended("a") == (
        "succeeded",
        {"run_id": run.run_id, "outcome": "succeeded", "result": {"rows": 3}},
    )
    assert run.idempotency_token == token_of(await works.engine.promises.get(f"{works.root('a')}:1"))
    assert run.parameters["day"] == "monday"
    assert run.parameters["callback_url"].startswith("http://127.0.0.1:8000/callbacks/")


async def test_the_jobs_own_failure_fails_it_with_message_and_details(works: Plant) -> None:
    await works.start("a", job_id=HOLDS)
    await triggered(works, 1)
    await works.answer(
        f"{works.root('a')}:1", '{"message": "no input", "details": {"day": 1}}', kind="failed", name="run-1"
    )

    (run,) = works.emulator.workspace.runs()
    assert await works.ended("a") == (
        "failed",
        {"outcome": "failed", "message": "no input", "details": {"day": 1}, "run_id": run.run_id},
    )


@pytest.mark.parametrize("job", [SUCCEEDS, FAILS, DIES, SKIPPED])
async def test_a_run_that_ends_without_calling_back_has_died(works: Plant, job: int) -> None:
    await works.start("a", job_id=job, **QUICK)

    state, error = await works.ended("a")
    assert (state, error["outcome"]) == ("failed", "died")
    assert "without calling back" in error["message"]
    assert error["run_id"] == works.emulator.workspace.runs()[0].run_id


async def test_a_run_that_dies_later_is_found_by_the_watcher(works: Plant) -> None:
    await works.start("a", job_id=HOLDS, **QUICK)
    (run,) = await triggered(works, 1)
    await pause(1.2)
    works.emulator.workspace.move(run.run_id, "INTERNAL_ERROR", "FAILED", "The cluster was lost")

    state, error = await works.ended("a")
    assert (state, error["outcome"]) == ("failed", "died")
    assert error["details"]["state_message"] == "The cluster was lost"


async def test_a_deleted_run_has_died(works: Plant) -> None:
    await works.start("a", job_id=HOLDS, **QUICK)
    (run,) = await triggered(works, 1)
    works.emulator.workspace.move(run.run_id, "TERMINATED", "FAILED")
    works.emulator.workspace.delete({"run_id": run.run_id})

    state, error = await works.ended("a")
    assert (state, error["outcome"]) == ("failed", "died")


async def test_a_blocked_run_is_waited_for_until_the_deadline_then_cancelled(works: Plant) -> None:
    await works.start("a", job_id=BLOCKED, deadline=3, **QUICK)

    (run,) = await triggered(works, 1)
    assert await works.ended("a") == (
        "expired",
        {"outcome": "expired", "message": "the deadline passed without a callback", "run_id": run.run_id},
    )
    assert works.emulator.workspace.cancels(run.run_id) == 1


async def test_a_cancel_withdraws_the_callback_and_cancels_the_run(works: Plant) -> None:
    await works.start("a", job_id=HOLDS)
    (run,) = await triggered(works, 1)
    assert await request_cancel(works.engine, works.root("a"))

    late = await works.answer(f"{works.root('a')}:1", name="run-1")
    assert late.verdict == "closed"
    state, error = await works.ended("a")
    assert (state, error["outcome"], error["run_id"]) == ("cancelled", "cancelled", run.run_id)
    assert works.emulator.workspace.cancels(run.run_id) == 1


async def test_a_run_that_may_not_be_cancelled_is_named_as_going_on(works: Plant) -> None:
    works.emulator.workspace.fail_next(
        Fault(kind="status", on="runs/cancel", status=403, error_code="PERMISSION_DENIED", message="not yours")
    )
    await works.start("a", job_id=HOLDS, deadline=3, **QUICK)
    (run,) = await triggered(works, 1)

    state, error = await works.ended("a")
    assert (state, error["outcome"], error["run_id"]) == ("expired", "expired", run.run_id)
    assert "the run may go on" in error["message"]


async def test_a_pipeline_cancelled_before_any_worker_saw_it_starts_no_run(tmp_path: Path, engine_url: str) -> None:
    if engine_url == "memory://":
        pytest.skip("an engine in memory has no life before its worker")

    async with plant(tmp_path, engine_url, jobs=JOBS, working=False) as asleep:
        await asleep.start("a", job_id=HOLDS)
        await request_cancel(asleep.engine, asleep.root("a"))

    async with plant(tmp_path, engine_url, jobs=JOBS) as works:
        state, error = await works.ended("a")

    assert (state, error["outcome"], error["run_id"]) == ("cancelled", "cancelled", None)
    assert works.emulator.workspace.runs_created() == 0


async def test_a_cancel_after_the_end_changes_nothing(works: Plant) -> None:
    await works.start("a", job_id=DIES, **QUICK)
    before = await works.ended("a")

    assert not await request_cancel(works.engine, works.root("a"))
    assert await works.ended("a") == before


async def test_a_further_attempt_has_a_callback_and_a_token_of_its_own(works: Plant) -> None:
    await works.start("a", job_id=DIES, attempts=3, **QUICK)
    state, error = await works.ended("a")

    runs = works.emulator.workspace.runs()
    assert (state, error["outcome"], error["run_id"]) == ("failed", "died", runs[-1].run_id)
    waits = [record for record in await works.steps("a") if "countersign:callback" in record.tags]
    assert [run.idempotency_token for run in runs] == [token_of(wait) for wait in waits]
    assert len({run.parameters["callback_url"] for run in runs}) == 3


async def test_a_deadline_is_not_followed_by_another_attempt(works: Plant) -> None:
    await works.start("a", job_id=HOLDS, attempts=3, deadline=3, **QUICK)

    assert (await works.ended("a"))[0] == "expired"
    assert works.emulator.workspace.runs_created() == 1


@pytest.mark.parametrize("job", [FORBIDDEN, 404])
async def test_a_refusal_for_good_ends_it_at_once_with_the_reason(works: Plant, job: int) -> None:
    await works.start("a", job_id=job, attempts=3)

    state, error = await works.ended("a")
    assert (state, error["outcome"], error["run_id"]) == ("failed", "failed", None)
    assert "refused" in error["message"]
    assert works.emulator.workspace.runs_created() == 0


@pytest.mark.parametrize("kind", ["lost", "refused", "status", "garbage"])
async def test_a_passing_fault_of_the_trigger_is_survived_with_one_run(works: Plant, kind: Any) -> None:
    works.emulator.workspace.fail_next(Fault(kind=kind, on="run-now", count=2))
    await works.start("a", job_id=HOLDS)
    (run,) = await triggered(works, 1)
    await works.answer(f"{works.root('a')}:1", name="run-1")

    state, result = await works.ended("a")
    assert (state, result["run_id"]) == ("succeeded", run.run_id)
    assert works.emulator.workspace.runs_created() == 1


async def test_a_watcher_that_cannot_ask_goes_on_asking(works: Plant) -> None:
    await works.start("a", job_id=HOLDS, **QUICK)
    (run,) = await triggered(works, 1)
    works.emulator.workspace.fail_next(Fault(kind="status", on="runs/get", count=2, status=403))
    works.emulator.workspace.move(run.run_id, "TERMINATED", "FAILED")

    assert (await works.ended("a"))[1]["outcome"] == "died"


async def test_a_callback_that_arrives_before_the_watcher_wins(works: Plant) -> None:
    await works.start("a", job_id=HOLDS, **QUICK)
    (run,) = await triggered(works, 1)
    await works.answer(f"{works.root('a')}:1", "1", name="run-1")
    works.emulator.workspace.move(run.run_id, "TERMINATED", "FAILED")

    assert (await works.ended("a"))[0] == "succeeded"


async def test_a_start_repeated_after_the_end_gives_the_stored_outcome_and_no_second_run(works: Plant) -> None:
    await works.start("a", job_id=DIES, **QUICK)
    ended = await works.ended("a")
    again = await works.start("a", job_id=DIES, **QUICK)

    assert not again.created
    assert (again.state, json.loads(again.error or "")) == ended
    assert works.emulator.workspace.runs_created() == 1


async def test_no_token_rests_in_the_promise_store(works: Plant) -> None:
    await works.start("a", job_id=HOLDS)
    (run,) = await triggered(works, 1)
    token = run.parameters["callback_url"].rpartition("/")[2]
    await works.answer(f"{works.root('a')}:1", name="run-1")
    await works.ended("a")

    stored = [await works.engine.promises.get(works.root("a")), *await works.steps("a")]
    assert all(token not in repr(record) and token.partition(".")[2] not in repr(record) for record in stored)


@pytest.mark.parametrize(
    "fields",
    [
        {"job_id": 0},
        {"job_id": "7"},
        {"job_id": True},
        {"job_id": 2**63},
        {"deadline": 0},
        {"deadline": -1},
        {"deadline": 0.5},
        {"watch_interval": 0},
        {"watch_interval": 0.99},
        {"attempts": 0},
        {"attempts": 10**6},
        {"parameters": {"callback_url": "http://evil"}},
        {"parameters": {"n": 1}},
        {"parameters": None},
        {"notify": "nobody"},
        {"notify": "a@b\r\nBcc: c@d"},
        {"surprise": 1},
    ],
    ids=str,
)
def test_input_out_of_range_is_refused_and_the_field_named(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as caught:
        PipelineRequest.model_validate({"job_id": 1} | fields)

    assert {fault["loc"][0] for fault in caught.value.errors()} == set(fields)


async def triggered(works: Plant, count: int) -> list[Any]:
    """Return the workspace's runs once there are so many."""
    for _ in range(1500):
        runs = works.emulator.workspace.runs()

        if len(runs) >= count:
            return runs

        await pause(0.02)

    pytest.fail("the job was not triggered")
