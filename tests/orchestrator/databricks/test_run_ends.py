"""What a workflow gets at each end of a run, by each `answer`, through the real client against the emulator."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from support.hurrying import hurry
from support.plant import plant
from support.run_ends import ANSWERS, ENDS, End, read_cell

from orchestrator.testing.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

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


def test_the_table_of_the_readme_is_the_one_that_was_tested() -> None:
    lines = (ROOT / "orchestrator/README.md").read_text("utf-8").splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith("| the run ... |")) + 2
    rows = [f"| {end.what} | {end.callback} | {end.run} | {end.either} |" for end in ENDS]

    assert lines[begin : begin + len(rows)] == rows
    assert lines[begin + len(rows)] == ""
