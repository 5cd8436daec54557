"""What Databricks refuses for good ends the job at once, with its reason and where to look; what passes is waited out.

Through the real client against the emulator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.plant import Plant, plant

from orchestrator.testing.emulator.workspace import Fault, Job

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

HOLDS, FORBIDDEN, DECLARES, MISSING = range(1, 5)
JOBS = {
    HOLDS: Job(fate="hold"),
    FORBIDDEN: Job(fate="hold", permitted=False),
    DECLARES: Job(fate="hold", parameters={"callback_url": "", "day": ""}),
}
ANSWERS = pytest.mark.parametrize("answer", ["callback", "run", "either"])


@pytest.fixture
async def works(tmp_path: Path) -> AsyncIterator[Plant]:
    async with plant(tmp_path, "memory://", jobs=JOBS) as one:
        yield one


#: By what is wrong: the input, what goes wrong in Databricks, and what it says about that.
REFUSALS: dict[str, tuple[dict[str, Any], Fault | None, str]] = {
    "no permission": ({"job_id": FORBIDDEN}, None, "does not have Manage Run"),
    "no such job, or a deleted one": ({"job_id": MISSING}, None, f"Job {MISSING} does not exist"),
    "an undeclared parameter": ({"job_id": DECLARES, "parameters": {"dya": "1"}}, None, "are not defined"),
    "too many parameters": ({"job_id": HOLDS, "parameters": {"a": "x" * 10_000}}, None, "more than 10000 bytes"),
    "an expired login": (
        {"job_id": HOLDS},
        Fault(kind="status", status=401, error_code="UNAUTHENTICATED", message="Credential was expired"),
        "Credential was expired",
    ),
    "a paused job": (
        {"job_id": HOLDS},
        Fault(kind="status", status=400, error_code="INVALID_STATE", message="The job is paused"),
        "The job is paused",
    ),
    "notebook_params beside job parameters": (
        {"job_id": HOLDS},
        Fault(
            kind="status",
            status=400,
            error_code="INVALID_PARAMETER_VALUE",
            message="Only one of job_parameters and notebook_params may be specified",
        ),
        "Only one of job_parameters and notebook_params",
    ),
}


@ANSWERS
@pytest.mark.parametrize("what", REFUSALS)
async def test_a_refusal_for_good_ends_it_at_once(works: Plant, what: str, answer: str) -> None:
    request, fault, reason = REFUSALS[what]

    if fault is not None:
        works.emulator.workspace.fail_next(fault)

    await works.start("a", **request, answer=answer, attempts=3, deadline=3600)
    state, error = await works.ended("a")

    assert (state, error["outcome"], error["run_id"]) == ("failed", "failed", None)
    assert reason in error["message"]
    assert error["details"] == {"job_page_url": f"{works.emulator.url}/jobs/{request['job_id']}"}
    assert works.emulator.workspace.runs_created() == 0
    assert sum(each["path"] == "run-now" for each in works.emulator.workspace.requests) == 1


@pytest.mark.usefixtures("hurried")
@ANSWERS
async def test_what_passes_is_waited_out_and_each_try_is_logged(
    works: Plant, answer: str, caplog: pytest.LogCaptureFixture
) -> None:
    works.emulator.workspace.fail_next(Fault(kind="status", status=503, retry_after=15, count=2))
    await works.start("a", job_id=HOLDS, answer=answer)
    (run,) = await works.triggered(1)

    told = [line for line in caplog.messages if "is not triggered yet: Databricks asks to come back later" in line]
    assert len(told) == 2
    assert all(line.startswith("databricks_pipeline.a:1: job 1") for line in told)
    assert ("callback_url" in run.parameters) == (answer != "run")
    assert works.emulator.workspace.runs_created() == 1
