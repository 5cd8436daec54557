"""What a workflow gets at each end of a run, by each `answer`, through the real client against the emulator."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import anyio
import pytest
from support.hurrying import hurry
from support.plant import plant
from support.run_ends import ANSWERS, ENDS, End, read_cell

from orchestrator.databricks.job_wait import JobWait
from orchestrator.databricks.run import JobRun, RunGone, RunOutput, TaskRun
from orchestrator.databricks.run_ends import RunEnd, read_run_end
from orchestrator.errors import StepRefused
from orchestrator.testing.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from orchestrator.databricks.jobs import Databricks

CELLS = [pytest.param(end, answer, id=f"{end.what}, {answer}") for end in ENDS for answer in ANSWERS]

#: By the end and the answer: the run's id, and the state and the result or error of its workflow.
type Got = Mapping[tuple[str, str], tuple[int, str, dict[str, Any]]]


@pytest.fixture(scope="module")
def got(tmp_path_factory: pytest.TempPathFactory) -> Got:
    """What the workflows of all cells got; they ran at once."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        hurry(monkeypatch)

        return anyio.run(played, tmp_path_factory.mktemp("ends"))


async def played(folder: Path) -> Got:
    jobs = {number: end.job for number, end in enumerate(ENDS, 1)}
    got = {}

    async with plant(folder, "memory://", jobs=jobs) as works:
        for number in jobs:
            for answer in ANSWERS:
                await works.start(f"{answer}-{number}", job_id=number, answer=answer, watch_interval=1)

        for run in await works.triggered(len(jobs) * len(ANSWERS)):
            ENDS[run.job_id - 1].play(works.emulator.workspace, run.run_id)

        for number, end in enumerate(ENDS, 1):
            for answer in ANSWERS:
                state, document = await works.ended(f"{answer}-{number}")
                run = next(run for run in works.emulator.workspace.runs() if run.run_id == document["run_id"])
                assert run.job_id == number
                assert ("callback_url" in run.parameters) == (answer != "run")
                got[end.what, answer] = run.run_id, state, document

        assert works.emulator.workspace.runs_created() == len(jobs) * len(ANSWERS)

    return got


@pytest.mark.parametrize(("end", "answer"), CELLS)
def test_what_the_workflow_gets(end: End, answer: str, got: Got) -> None:
    told = read_cell(end.expected(answer))
    _, state, document = got[end.what, answer]

    assert document["outcome"] == told["outcome"]
    assert state == ("succeeded" if told["outcome"] == "succeeded" else "failed")

    if state == "succeeded":
        assert document["result"] == json.loads(told["result"])
        assert told["note"] in document.get("note", "")
        assert bool(told["note"]) == ("note" in document)
    else:
        assert told["message"] in document["message"]


@pytest.mark.parametrize(("end", "answer"), CELLS)
def test_a_failure_says_where_to_look_and_whether_a_callback_was_expected(end: End, answer: str, got: Got) -> None:
    run_id, state, document = got[end.what, answer]

    if state == "succeeded" or "has no run" in document["message"]:
        return

    assert ("without calling back" in document["message"]) == (answer == "callback")

    if "our notebook" not in end.what or answer == "callback":
        assert document["details"]["run_page_url"].endswith(f"/run/{run_id}")


# -- what is left of outputs --------------------------------------------------


class Outputs:
    """The outputs of tasks by the ids of their runs, as `Databricks` reads them."""

    def __init__(self, outputs: Mapping[int, RunOutput | Exception]) -> None:
        self.outputs = outputs
        self.asked: list[int] = []

    async def output(self, run_id: int) -> RunOutput:
        self.asked.append(run_id)
        output = self.outputs.get(run_id, RunOutput(exit_value=None, truncated=False, error=None))

        if isinstance(output, Exception):
            raise output

        return output

    async def end(self, run: JobRun, output_of: str | None = None) -> RunEnd:
        return await read_run_end(cast("Databricks", self), run, JobWait(answer="run", output_of=output_of))


def exited(value: str) -> RunOutput:
    return RunOutput(exit_value=value, truncated=False, error=None)


def ended(result_state: str, *tasks: TaskRun, **parameters: str) -> JobRun:
    return JobRun(
        run_id=1,
        job_id=1,
        over=True,
        life_cycle_state="TERMINATED",
        result_state=result_state,
        message="",
        page_url=None,
        parameters=parameters,
        tasks=tasks,
    )


def task(number: int, result_state: str = "SUCCESS") -> TaskRun:
    return TaskRun(
        key=f"t{number}",
        run_id=number,
        life_cycle_state="TERMINATED",
        result_state=result_state,
        is_notebook=True,
        end_time=number,
    )


@pytest.mark.parametrize(
    ("error", "note"),
    [
        (RunGone(1), "the output is gone: Databricks keeps it for 60 days"),
        (StepRefused("permission denied"), "the output could not be read: permission denied"),
    ],
)
async def test_an_output_that_cannot_be_had_leaves_the_success_with_a_note(error: Exception, note: str) -> None:
    assert await Outputs({1: error}).end(ended("SUCCESS")) == RunEnd(kind="succeeded", body="null", note=note)


async def test_the_last_tasks_are_asked_for_their_output_and_no_more_than_eight() -> None:
    outputs = Outputs({2: exited("2")})
    run = ended("SUCCESS", *(task(number) for number in range(1, 101)))

    assert (await outputs.end(run)).body == "null"
    assert outputs.asked == [*range(100, 92, -1)]
    assert (await Outputs({95: exited("95")}).end(run)).body == "95"


async def test_a_chosen_task_that_did_not_succeed_or_is_missing_is_noted() -> None:
    run = ended("SUCCESS_WITH_FAILURES", task(1), task(2, "FAILED"))
    failed = await Outputs({1: exited("1")}).end(run, "t2")
    missing = await Outputs({1: exited("1")}).end(run, "t3")

    assert (failed.kind, failed.body, missing.kind, missing.body) == ("succeeded", "null", "succeeded", "null")
    assert failed.note == "these tasks did not succeed: t2; the task 't2' did not succeed (FAILED)"
    assert missing.note == "these tasks did not succeed: t2; the run has no task 't3'"


async def test_an_error_that_repeats_a_parameter_is_told_without_it() -> None:
    error = RunOutput(exit_value=None, truncated=False, error="ValueError: the day of a-customer is odd")
    end = await Outputs({1: error}).end(ended("FAILED", customer="a-customer"))

    assert end.kind == "failed"
    assert "ValueError: the day of" in end.body
    assert "a-customer" not in end.body


def test_the_table_of_the_readme_is_the_one_that_was_tested() -> None:
    lines = (ROOT / "orchestrator/README.md").read_text("utf-8").splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith("| the run ... |")) + 2
    rows = [f"| {end.what} | {end.callback} | {end.run} | {end.either} |" for end in ENDS]

    assert lines[begin : begin + len(rows)] == rows
    assert lines[begin + len(rows)] == ""
