"""The report in the output of a run: what the real notebook leaves is read, and nothing else is."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.databricks import NOTEBOOK
from orchestrator.databricks.notebook_report import NotebookReport, read_report
from orchestrator.testing.emulator.workspace import Job, Workspace

TOKEN = "eyJwIjoicGlwZWxpbmUuMToxIn0.0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
GOOD = '{"countersign": 1, "outcome": "succeeded", "result": {"rows": 3}}'
BAD = '{"countersign": 1, "outcome": "failed", "message": "no rows", "details": null}'


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    one = Workspace({1: Job()})
    yield one
    one.stop()


@pytest.fixture
def unreachable() -> str:
    """A callback address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}/callbacks/{TOKEN}"


def leave(workspace: Workspace, **parameters: str) -> tuple[str, dict[str, Any]]:
    """Run the notebook; return the result of its run, and the output."""
    given = {"callback_timeout": "0.2", "callback_delay": "0.05", **parameters}
    run = workspace.wait_over(workspace.run_now({"job_id": 1, "job_parameters": given})["run_id"])

    return str(run.result_state), workspace.get_output(run.tasks[0].run_id)


def reported(output: dict[str, Any]) -> NotebookReport | None:
    return read_report(output["notebook_output"].get("result"), output.get("error"))


@pytest.mark.slow
def test_a_notebook_without_a_callback_leaves_its_result(workspace: Workspace) -> None:
    state, output = leave(workspace, rows="4")

    assert (state, reported(output)) == (
        "SUCCESS",
        NotebookReport(outcome="succeeded", value={"rows": 4, "sum": 14}),
    )


@pytest.mark.slow
def test_a_result_that_is_lost_in_the_network_is_left_in_the_output(workspace: Workspace, unreachable: str) -> None:
    state, output = leave(workspace, callback_url=unreachable, rows="1")

    assert (state, reported(output)) == ("SUCCESS", NotebookReport(outcome="succeeded", value={"rows": 1, "sum": 0}))
    assert TOKEN.partition(".")[0] not in json.dumps(output)


@pytest.mark.slow
def test_a_failure_that_is_lost_in_the_network_is_left_in_the_error_of_the_run(
    workspace: Workspace, unreachable: str
) -> None:
    state, output = leave(workspace, callback_url=unreachable, fail="the table\nis empty")
    report = reported(output)

    assert (state, output["notebook_output"]) == ("FAILED", {"truncated": False})
    assert output["error"].startswith("WorkFailed: RuntimeError: the table")
    assert report is not None
    assert (report.outcome, report.value["message"]) == ("failed", "RuntimeError: the table\nis empty")
    assert report.value["details"]["exception"] == "RuntimeError"
    assert TOKEN.partition(".")[0] not in json.dumps(output)


@pytest.mark.slow
def test_a_failure_without_a_callback_is_the_runs_own(workspace: Workspace) -> None:
    state, output = leave(workspace, fail="the table is empty")

    assert (state, output["error"], reported(output)) == ("FAILED", "RuntimeError: the table is empty", None)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "left"), [(70_000, True), (4_900_001, False)])
def test_a_result_that_is_too_large_for_the_callback_is_left_in_the_output(
    workspace: Workspace, tmp_path: Path, unreachable: str, size: int, *, left: bool
) -> None:
    before, _, rest = NOTEBOOK.read_text().partition("# vvvv")
    edited = tmp_path / "edited.py"
    work = f"def work(parameters):\n    return 'x' * {size - 2}\n"
    edited.write_text(f"{before}# vvvv\n{work}# ^^^^{rest.partition('# ^^^^')[2]}")
    workspace.add_job(1, Job(notebook=str(edited)))

    state, output = leave(workspace, callback_url=unreachable)

    if left:
        assert (state, reported(output)) == ("SUCCESS", NotebookReport(outcome="succeeded", value="x" * (size - 2)))
    else:
        assert state == "FAILED"
        assert "4900001 bytes of JSON, but at most 4900000 can be sent" in output["error"]


def test_a_report_is_read() -> None:
    assert read_report(GOOD, None) == NotebookReport(outcome="succeeded", value={"rows": 3})
    assert read_report(None, f"WorkFailed: no rows\n{BAD}\n") == NotebookReport(
        outcome="failed", value={"message": "no rows", "details": None}
    )
    assert read_report(GOOD.replace("}}", '}, "later": 1}'), None) == read_report(GOOD, None)


@pytest.mark.parametrize(
    ("exit_value", "error"),
    [
        (None, None),
        ("", ""),
        ("42", "RuntimeError: no rows"),
        ('{"rows": 3}', None),
        (GOOD[:-1], None),
        (GOOD.replace("1", "2", 1), None),
        (GOOD.replace("succeeded", "approved"), None),
        (GOOD.replace('"result"', '"results"'), None),
        (GOOD.replace("3", "NaN"), None),
        (BAD, None),
        (None, GOOD),
        (None, f"{BAD}\nand more"),
        (None, BAD.replace('"no rows"', "7")),
        ("[" * 100_000, None),
        ('{"countersign": 1, "x": "\udc80"}', None),
    ],
)
def test_anything_else_is_no_report(exit_value: str | None, error: str | None) -> None:
    assert read_report(exit_value, error) is None
