"""The pipeline on every engine: one run per attempt, and it always ends, as the contract says it does.

Long because one workflow has all these endings, each of them tried on every engine.
"""

from __future__ import annotations

import asyncio
import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError
from support.edge import AUTHORISED, edge, problem
from support.plant import Plant, plant

from orchestrator.databricks import attempts
from orchestrator.databricks.attempts import pause_before
from orchestrator.durable.context import Context
from orchestrator.runs.call_graph import name_of
from orchestrator.runs.cancellation import request_cancel
from orchestrator.testing.emulator.workspace import Fault, Job
from orchestrator.workflows.databricks_pipeline import PipelineRequest, databricks_pipeline

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from resonate.types import PromiseRecord

HOLDS, BLOCKED, SUCCEEDS, FAILS, DIES, SKIPPED, FORBIDDEN, DECLARES = range(1, 9)
JOBS = {
    HOLDS: Job(fate="hold"),
    BLOCKED: Job(fate="blocked"),
    SUCCEEDS: Job(fate="succeeds"),
    FAILS: Job(fate="fails"),
    DIES: Job(fate="dies"),
    SKIPPED: Job(fate="skipped"),
    FORBIDDEN: Job(fate="hold", permitted=False),
    DECLARES: Job(fate="hold", parameters={"callback_url": ""}),
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
    await works.triggered(1)
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
    await works.triggered(1)
    await works.answer(
        f"{works.root('a')}:1", '{"message": "no input", "details": {"day": 1}}', kind="failed", name="run-1"
    )

    (run,) = works.emulator.workspace.runs()
    assert await works.ended("a") == (
        "failed",
        {"outcome": "failed", "message": "no input", "details": {"day": 1}, "run_id": run.run_id},
    )


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("job", [SUCCEEDS, FAILS, DIES, SKIPPED])
async def test_a_run_that_ends_without_calling_back_has_died(works: Plant, job: int) -> None:
    await works.start("a", job_id=job, **QUICK)

    state, error = await works.ended("a")
    assert (state, error["outcome"]) == ("failed", "died")
    assert "without calling back" in error["message"]
    assert error["run_id"] == works.emulator.workspace.runs()[0].run_id


@pytest.mark.slow
async def test_a_blocked_run_is_waited_for_until_the_deadline_then_cancelled(works: Plant) -> None:
    await works.start("a", job_id=BLOCKED, deadline=3, **QUICK)

    (run,) = await works.triggered(1)
    assert await works.ended("a") == (
        "expired",
        {"outcome": "expired", "message": "the deadline passed without a callback", "run_id": run.run_id},
    )
    assert works.emulator.workspace.cancels(run.run_id) == 1


async def test_a_cancel_withdraws_the_callback_and_cancels_the_run(works: Plant) -> None:
    await works.start("a", job_id=HOLDS)
    (run,) = await works.triggered(1)
    assert await request_cancel(works.engine, works.root("a"))

    late = await works.answer(f"{works.root('a')}:1", name="run-1")
    assert late.verdict == "closed"
    state, error = await works.ended("a")
    assert (state, error["outcome"], error["run_id"]) == ("cancelled", "cancelled", run.run_id)
    assert works.emulator.workspace.cancels(run.run_id) == 1


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


@pytest.mark.usefixtures("hurried")
async def test_a_further_attempt_has_a_callback_and_a_token_of_its_own(works: Plant) -> None:
    await works.start("a", job_id=DIES, attempts=3, **QUICK)
    state, error = await works.ended("a")

    runs = works.emulator.workspace.runs()
    assert (state, error["outcome"], error["run_id"]) == ("failed", "died", runs[-1].run_id)
    waits = [record for record in await works.steps("a") if "countersign:callback" in record.tags]
    assert [run.idempotency_token for run in runs] == [token_of(wait) for wait in waits]
    assert len({run.parameters["callback_url"] for run in runs}) == 3


def test_pauses_double_up_to_ten_minutes() -> None:
    assert [pause_before(attempt) for attempt in range(1, 21)] == [0, *(2**n for n in range(10)), *[600] * 9]


async def test_a_cancel_that_comes_before_the_pause_has_begun_ends_it_too(works: Plant, monkeypatch: Any) -> None:
    monkeypatch.setattr(attempts, "pause_before", lambda attempt: 600.0 if attempt > 1 else 0.0)
    napping = Context.sleep
    asked: list[bool] = []

    def sleep_late(ctx: Context, duration: timedelta) -> Any:
        # The request is on record before the pause is, and what it withdraws is not there yet.
        async def late() -> None:
            if duration.total_seconds() == 600 and not asked:
                asked.append(await request_cancel(works.engine, works.root("a")))

        task = asyncio.ensure_future(late())
        link = ctx._state.chain.link()
        ctx._state.spawned_remote_tasks.append(asyncio.ensure_future(link.run(lambda: task)))
        return napping(ctx, duration)

    monkeypatch.setattr(Context, "sleep", sleep_late)
    await works.start("a", job_id=DIES, attempts=2, **QUICK)

    assert (await works.ended("a"))[0] == "cancelled"
    assert asked == [True]
    assert works.emulator.workspace.runs_created() == 1


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("attempt", [1, 2])
async def test_a_pipeline_that_waits_since_before_there_were_pauses_goes_on(
    works: Plant, attempt: int, monkeypatch: Any
) -> None:
    async def wanted_at_once(ctx: Context, address: Any, _rest: float) -> bool:
        return bool(await attempts._is_wanted(ctx, address))

    # What an attempt left on record before there were pauses.
    wanted_at_once.__name__ = "still_wanted"
    now = attempts.still_wanted
    monkeypatch.setattr(attempts, "still_wanted", wanted_at_once)
    await works.start("a", job_id=HOLDS, attempts=3)

    for place in range(attempt):
        runs = await works.triggered(place + 1)
        wait = f"{works.root('a')}:{3 * place + 1}"
        await works.opened(f"{works.root('a')}:{3 * place + 3}")

        if place + 1 == attempt:
            monkeypatch.setattr(attempts, "still_wanted", now)

        await works.answer(wait, '{"message": "no"}', kind="failed", name=f"run-{place + 1}")

    runs = await works.triggered(attempt + 1)
    after = f"{works.root('a')}:{3 * attempt + 1}"
    await works.answer(after, "1", name=f"run-{attempt + 1}")
    assert await works.ended("a") == ("succeeded", {"run_id": runs[-1].run_id, "outcome": "succeeded", "result": 1})
    assert len(works.emulator.workspace.runs()) == attempt + 1
    assert len([record for record in await works.steps("a") if name_of(record) == "sleep"]) == 1


@pytest.mark.usefixtures("hurried")
async def test_a_job_at_its_limit_is_tried_again_and_a_skipped_run_says_why(works: Plant) -> None:
    works.emulator.workspace.add_job(HOLDS, Job(fate="hold", max_concurrent_runs=1))
    await works.start("first", job_id=HOLDS)
    (first,) = await works.triggered(1)
    await works.start("a", job_id=HOLDS, **QUICK)
    error = (await works.ended("a"))[1]
    assert "SKIPPED" in error["message"]
    assert "limit of concurrent runs" in error["message"]

    await works.start("b", job_id=HOLDS, attempts=2, **QUICK)
    await works.opened(f"{works.root('b')}:6")
    works.emulator.workspace.move(first.run_id, "TERMINATED", "SUCCESS")
    runs = await works.triggered(4)
    await works.answer(f"{works.root('b')}:4", "1", name="run-2")
    assert await works.ended("b") == (
        "succeeded",
        {"run_id": runs[-1].run_id, "outcome": "succeeded", "result": 1},
    )


@pytest.mark.parametrize("job", [FORBIDDEN, 404])
async def test_a_refusal_for_good_ends_it_at_once_with_the_reason(works: Plant, job: int) -> None:
    await works.start("a", job_id=job, attempts=3)

    state, error = await works.ended("a")
    assert (state, error["outcome"], error["run_id"]) == ("failed", "failed", None)
    assert "refused" in error["message"]
    assert works.emulator.workspace.runs_created() == 0


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("kind", ["lost", "refused", "status", "garbage"])
async def test_a_passing_fault_of_the_trigger_is_survived_with_one_run(works: Plant, kind: Any) -> None:
    works.emulator.workspace.fail_next(Fault(kind=kind, on="run-now", count=2))
    await works.start("a", job_id=HOLDS)
    (run,) = await works.triggered(1)
    await works.answer(f"{works.root('a')}:1", name="run-1")

    state, result = await works.ended("a")
    assert (state, result["run_id"]) == ("succeeded", run.run_id)
    assert works.emulator.workspace.runs_created() == 1


async def test_no_token_rests_in_the_promise_store(works: Plant) -> None:
    await works.start("a", job_id=HOLDS)
    (run,) = await works.triggered(1)
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


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("deadline", 1e308),
        ("deadline", -0.0),
        ("watch_interval", 0.5),
        ("attempts", 21),
        ("attempts", 1.5),
        ("job_id", 2**63),
        ("job_id", 10**300),
        ("parameters", {"callback_url": "https://elsewhere.example"}),
        ("notify", "two@example.org, three@example.org"),
    ],
)
async def test_the_api_answers_422_and_names_the_field(tmp_path: Path, field: str, value: object) -> None:
    async with edge(tmp_path, workflows=[databricks_pipeline]) as here:
        path = "/workflows/databricks_pipeline/1"
        answer = await here.client.put(path, json={"job_id": 1} | {field: value}, headers=AUTHORISED)

        assert field in problem(answer, 422, "invalid-input")["errors"][0]["field"]
        problem(await here.client.get(path, headers=AUTHORISED), 404, "unknown-id")
