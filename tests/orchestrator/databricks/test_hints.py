"""Hints, without the receiver in front of them: which waits a run answers for, and what a worker gets to do."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from support.plant import plant

from orchestrator.callbacks.claims import Claims
from orchestrator.callbacks.tokens import TokenSigner
from orchestrator.config.secret import Secret
from orchestrator.databricks.hints import HINT, _claims_in, request_poll
from orchestrator.databricks.run import JobRun, job_subject
from orchestrator.stored_names import TRANSIENT_TAG

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_800_000_000
SIGNER = TokenSigner([Secret(b"-a-key-of-the-tests-of-the-hints-")], clock=lambda: NOW)
CLAIMS = Claims(
    promise_id="databricks_pipeline.a:1",
    callback="run-1",
    audience="machine",
    subject=job_subject(7),
    outcomes=("succeeded", "failed"),
    expires_at=NOW + 60,
    opened_at=NOW * 1000,
)


def run(**parameters: str) -> JobRun:
    return JobRun(
        run_id=1,
        job_id=7,
        over=True,
        life_cycle_state="TERMINATED",
        result_state="FAILED",
        message="",
        page_url=None,
        parameters=parameters,
    )


def link(claims: Claims) -> str:
    return f"https://callbacks.example.org/callbacks/{SIGNER.mint(claims)}"


def test_a_run_answers_for_the_wait_whose_link_is_among_its_parameters() -> None:
    assert list(_claims_in(run(callback_url=link(CLAIMS), rows="3"), SIGNER)) == [CLAIMS]


@pytest.mark.parametrize(
    "changed",
    [
        {"subject": job_subject(8)},
        {"subject": ""},
        {"promise_id": "databricks_pipeline.a"},
        {"expires_at": NOW - 1},
        {"audience": "approver"},
    ],
)
def test_a_run_does_not_answer_for_a_link_of_another_job_a_root_a_time_that_is_over_or_a_person(
    changed: dict[str, object],
) -> None:
    claims = replace(CLAIMS, **changed)  # type: ignore[arg-type]

    assert list(_claims_in(run(callback_url=link(claims)), SIGNER)) == []


def test_a_run_does_not_answer_for_a_link_that_we_have_not_signed() -> None:
    assert list(_claims_in(run(callback_url=link(CLAIMS)[:-1] + "!", other="", more="a/b"), SIGNER)) == []


async def test_a_poll_is_asked_of_the_group_as_a_task_that_leaves_nothing_behind(tmp_path: Path) -> None:
    async with plant(tmp_path, "memory://", working=False) as works:
        await request_poll(works.engine, 5, group="default", clock=works.now, new_nonce=lambda: "n")
        task = await works.engine.promises.get("countersign~run5.n")
        target = works.engine.address_of("default")

    param: Any = task.param.data

    assert (param["func"], param["args"]) == (HINT, [{"run_id": 5}])
    assert (task.tags["resonate:target"], task.tags[TRANSIENT_TAG]) == (target, "true")
