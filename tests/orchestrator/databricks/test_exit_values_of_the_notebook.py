"""What the real notebook leaves in the output of its run, as we read it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.databricks import NOTEBOOK
from orchestrator.databricks.exit_values import LARGEST, Report, read_exit_value, read_last_line
from orchestrator.databricks.reading import read_output
from orchestrator.testing.emulator.workspace import Job, Workspace

TOKEN = "eyJwIjoicGlwZWxpbmUuMToxIn0.0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"


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


def result_in(output: dict[str, Any]) -> Any:
    report = read_exit_value(read_output(output))
    assert report.failure is report.note is None

    return json.loads(report.result)


@pytest.mark.slow
def test_a_notebook_without_a_callback_leaves_its_result(workspace: Workspace) -> None:
    state, output = leave(workspace, rows="4")

    assert (state, result_in(output)) == ("SUCCESS", {"rows": 4, "sum": 14})


@pytest.mark.slow
def test_a_result_that_is_lost_in_the_network_is_left_in_the_output(workspace: Workspace, unreachable: str) -> None:
    state, output = leave(workspace, callback_url=unreachable, rows="1")

    assert (state, result_in(output)) == ("SUCCESS", {"rows": 1, "sum": 0})
    assert TOKEN.partition(".")[0] not in json.dumps(output)


@pytest.mark.slow
def test_a_failure_that_is_lost_in_the_network_is_left_in_the_error_of_the_run(
    workspace: Workspace, unreachable: str
) -> None:
    state, output = leave(workspace, callback_url=unreachable, fail="the table\nis empty")
    report = json.loads(read_last_line(output["error"]) or "null")

    assert (state, output["notebook_output"]) == ("FAILED", {"truncated": False})
    assert output["error"].startswith("WorkFailed: RuntimeError: the table")
    assert report["message"] == "RuntimeError: the table\nis empty"
    assert report["details"]["exception"] == "RuntimeError"
    assert TOKEN.partition(".")[0] not in json.dumps(output)


@pytest.mark.slow
def test_a_failure_without_a_callback_is_the_runs_own(workspace: Workspace) -> None:
    state, output = leave(workspace, fail="the table is empty")

    assert (state, output["error"]) == ("FAILED", "RuntimeError: the table is empty")
    assert read_last_line(output["error"]) is None
    assert read_exit_value(read_output(output)) == Report.nothing()


@pytest.mark.slow
@pytest.mark.parametrize(("size", "left"), [(70_000, True), (LARGEST + 1, True), (4_900_001, False)])
def test_a_result_that_is_too_large_for_the_callback_is_left_in_the_output(
    workspace: Workspace, tmp_path: Path, unreachable: str, size: int, *, left: bool
) -> None:
    before, _, rest = NOTEBOOK.read_text().partition("# vvvv")
    edited = tmp_path / "edited.py"
    work = f"def work(parameters):\n    return 'x' * {size - 2}\n"
    edited.write_text(f"{before}# vvvv\n{work}# ^^^^{rest.partition('# ^^^^')[2]}")
    workspace.add_job(1, Job(notebook=str(edited)))

    state, output = leave(workspace, callback_url=unreachable)

    if left and size > LARGEST:
        assert state == "SUCCESS"
        assert "store it instead" in (read_exit_value(read_output(output)).note or "")
    elif left:
        assert (state, result_in(output)) == ("SUCCESS", "x" * (size - 2))
    else:
        assert state == "FAILED"
        assert "4900001 bytes of JSON, but at most 4900000 can be sent" in output["error"]
