"""The emulator over plain HTTP: it must be as strict as the API that it replaces.

Long because each call of the API has its own table of refusals.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from orchestrator.testing import emulator as emulator_package
from orchestrator.testing.emulator import workspace
from orchestrator.testing.emulator.__main__ import main
from orchestrator.testing.emulator.jobs_api import Emulator
from orchestrator.testing.emulator.workspace import Fault, Job

HELD, SUM, DECLARING, SLEEPING = 1, 2, 3, 4


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    (tmp_path / "printing.py").write_text("import os, sys\nprint(os.environ['COUNTERSIGN_PARAM_DAY'], len(sys.argv))\n")
    (tmp_path / "sleeping.py").write_text("import time\ntime.sleep(3600)\n")
    jobs = {
        HELD: Job(fate="hold"),
        SUM: Job(notebook=str(tmp_path / "printing.py")),
        DECLARING: Job(fate="hold", parameters={"day": "monday", "callback_url": ""}),
        SLEEPING: Job(notebook=str(tmp_path / "sleeping.py")),
    }

    with Emulator(jobs=jobs) as one:
        yield one


def ask(emulator: Emulator, path: str, body: object = None, method: str | None = None, token: str | None = None) -> Any:
    """Return the status and the JSON of the response, None if it has none."""
    api = path if path.startswith("/") else f"/api/2.2/jobs/{path}"
    request = urllib.request.Request(  # noqa: S310 - loopback
        emulator.url + api,
        data=None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {emulator.token}" if token is None else token},
        method=method,
    )

    try:
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 - loopback
            content = response.read()
            return response.status, json.loads(content) if content else None
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def run_now(emulator: Emulator, job_id: int, **body: object) -> int:
    status, answer = ask(emulator, "run-now", {"job_id": job_id, **body})
    assert status == 200
    return int(answer["run_id"])


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False

    return True


def state(emulator: Emulator, run_id: int) -> tuple[str, str | None]:
    answer = ask(emulator, f"runs/get?run_id={run_id}")[1]["state"]
    return answer["life_cycle_state"], answer.get("result_state")


# Access


@pytest.mark.parametrize(("token", "status"), [("", 401), ("Basic abc", 401), ("Bearer other", 403)])
def test_nobody_gets_in_without_the_token(emulator: Emulator, token: str, status: int) -> None:
    answer = ask(emulator, "run-now", {"job_id": HELD}, token=token)

    assert answer[0] == status
    assert set(answer[1]) == {"error_code", "message"}
    assert emulator.workspace.runs() == []


# What is refused


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "MALFORMED_REQUEST"),
        ([], "MALFORMED_REQUEST"),
        ({}, "MALFORMED_REQUEST"),
        ({"job_id": "x"}, "MALFORMED_REQUEST"),
        ({"job_id": HELD, "notebook_params": {}}, "MALFORMED_REQUEST"),
        ({"job_id": HELD, "job_parameters": {"day": 1}}, "MALFORMED_REQUEST"),
        ({"job_id": 99}, "INVALID_PARAMETER_VALUE"),
        ({"job_id": HELD, "idempotency_token": "t" * 65}, "INVALID_PARAMETER_VALUE"),
        ({"job_id": DECLARING, "job_parameters": {"colour": "red"}}, "INVALID_PARAMETER_VALUE"),
    ],
)
def test_a_request_that_databricks_would_refuse_is_refused(emulator: Emulator, body: object, code: str) -> None:
    status, answer = ask(emulator, "run-now", body)

    assert (status, answer["error_code"]) == (400, code)
    assert emulator.workspace.runs() == []


def test_an_unknown_job_or_run_is_named_as_databricks_names_it(emulator: Emulator) -> None:
    assert ask(emulator, "run-now", {"job_id": 99})[1]["message"] == "Job 99 does not exist."
    assert ask(emulator, "runs/get?run_id=7")[1]["message"] == "Run 7 does not exist."
    assert ask(emulator, "runs/cancel", {"run_id": 7})[1]["message"] == "Run 7 does not exist."


# Idempotency tokens


def test_a_token_means_one_run_whatever_its_state(emulator: Emulator) -> None:
    run_id = run_now(emulator, HELD, idempotency_token="t" * 64)
    emulator.workspace.move(run_id, "TERMINATED", "FAILED")

    assert run_now(emulator, HELD, idempotency_token="t" * 64) == run_id
    assert run_now(emulator, HELD, idempotency_token="u") != run_id
    assert run_now(emulator, HELD) != run_now(emulator, HELD)


def test_many_requests_at_once_with_one_token_start_one_run(emulator: Emulator) -> None:
    with ThreadPoolExecutor(16) as pool:
        runs = set(pool.map(lambda _: run_now(emulator, HELD, idempotency_token="t"), range(64)))

    assert len(runs) == 1
    assert emulator.workspace.runs_created("t") == 1


def test_the_token_of_a_deleted_run_stays_an_error(emulator: Emulator) -> None:
    run_id = run_now(emulator, HELD, idempotency_token="t")
    assert ask(emulator, "runs/delete", {"run_id": run_id})[1]["error_code"] == "INVALID_STATE"

    emulator.workspace.move(run_id, "TERMINATED", "SUCCESS")
    assert ask(emulator, "runs/delete", {"run_id": run_id}) == (200, {})
    assert ask(emulator, f"runs/get?run_id={run_id}")[0] == 400
    assert ask(emulator, "run-now", {"job_id": HELD, "idempotency_token": "t"})[0] == 400
    assert emulator.workspace.runs_created("t") == 1


# Notebooks


@pytest.mark.slow
def test_a_notebook_runs_as_a_process_with_the_parameters_in_its_environment(emulator: Emulator) -> None:
    run = emulator.workspace.wait_over(run_now(emulator, SUM, job_parameters={"day": "tuesday"}))

    assert run.output == "tuesday 1\n"
    assert (run.life_cycle_state, run.result_state, run.exit_code) == ("TERMINATED", "SUCCESS", 0)


@pytest.mark.slow
def test_a_notebook_that_fails_makes_a_failed_run(emulator: Emulator) -> None:
    run = emulator.workspace.wait_over(run_now(emulator, SUM))

    assert (run.life_cycle_state, run.result_state) == ("TERMINATED", "FAILED")
    assert "KeyError" in run.output


@pytest.mark.slow
def test_cancelling_ends_the_notebook(emulator: Emulator) -> None:
    run_id = run_now(emulator, SLEEPING)
    emulator.workspace.wait_until(run_id, {"RUNNING"})
    assert ask(emulator, "runs/cancel", {"run_id": run_id}) == (200, {})

    run = emulator.workspace.wait_over(run_id)

    assert (run.life_cycle_state, run.result_state) == ("TERMINATED", "CANCELED")
    assert run.exit_code == -signal.SIGTERM
    assert ask(emulator, "runs/cancel", {"run_id": run_id}) == (200, {})


def test_a_run_cancelled_before_it_started_never_starts() -> None:
    with Emulator(jobs={HELD: Job()}, startup=3_600) as emulator:
        run_id = run_now(emulator, HELD)
        assert state(emulator, run_id) == ("PENDING", None)
        assert ask(emulator, "runs/cancel", {"run_id": run_id}) == (200, {})
        (run,) = emulator.workspace.runs()

        # What the run's thread does when its turn comes.
        notebooks, ended = emulator.workspace._notebooks, list[str]()
        notebooks._startup = 0
        began = partial(emulator.workspace._execution._notebook_began, run, run.tasks[0])
        notebooks._execute(run.tasks[0], Job(), {}, began, lambda: ended.append("ended"))
        assert ended == []

        assert (run.pid, state(emulator, run_id)) == (None, ("TERMINATED", "CANCELED"))


@pytest.mark.slow
def test_stopping_the_emulator_leaves_no_notebook_behind(emulator: Emulator) -> None:
    run = emulator.workspace.wait_until(run_now(emulator, SLEEPING), {"RUNNING"})
    assert run.pid is not None
    assert alive(run.pid)

    emulator.stop()

    assert not alive(run.pid)


# What a run shows


@pytest.mark.parametrize(
    ("fate", "old", "new"),
    [
        ("hold", ("RUNNING", None), "RUNNING"),
        ("blocked", ("BLOCKED", None), "BLOCKED"),
        ("succeeds", ("TERMINATED", "SUCCESS"), "TERMINATED"),
        ("fails", ("TERMINATED", "FAILED"), "TERMINATED"),
        ("dies", ("INTERNAL_ERROR", "FAILED"), "TERMINATED"),
        ("skipped", ("SKIPPED", "MAXIMUM_CONCURRENT_RUNS_REACHED"), "TERMINATED"),
    ],
)
def test_a_fate_shows_in_the_old_and_the_new_state(
    emulator: Emulator, fate: workspace.Fate, old: tuple[str, str | None], new: str
) -> None:
    emulator.workspace.add_job(9, Job(fate=fate))
    run_id = run_now(emulator, 9)

    assert state(emulator, run_id) == old
    assert ask(emulator, f"runs/get?run_id={run_id}")[1]["status"]["state"] == new


def test_a_run_shows_every_declared_parameter(emulator: Emulator) -> None:
    run_id = run_now(emulator, DECLARING, job_parameters={"callback_url": "here"})

    assert ask(emulator, f"runs/get?run_id={run_id}")[1]["job_parameters"] == [
        {"name": "day", "default": "monday", "value": "monday"},
        {"name": "callback_url", "default": "", "value": "here"},
    ]


# Faults


def test_a_lost_request_takes_effect_and_a_refused_one_does_not(emulator: Emulator) -> None:
    for kind, created in (("refused", 0), ("lost", 1)):
        ask(emulator, "/emulator/faults", {"kind": kind, "on": "run-now"})

        with pytest.raises(ConnectionError):
            run_now(emulator, HELD, idempotency_token="t")

        assert emulator.workspace.runs_created("t") == created

    run_now(emulator, HELD, idempotency_token="t")
    assert emulator.workspace.runs_created("t") == 1


def test_faults_happen_as_often_as_asked_and_where_asked(emulator: Emulator) -> None:
    emulator.workspace.fail_next(Fault(kind="status", on="runs/get", count=2))
    run_id = run_now(emulator, HELD)

    assert [ask(emulator, f"runs/get?run_id={run_id}")[0] for _ in range(3)] == [503, 503, 200]


def test_faults_can_be_taken_back(emulator: Emulator) -> None:
    emulator.workspace.fail_next(Fault(kind="status", on="*", count=9))

    ask(emulator, "/emulator/faults", method="DELETE")

    run_now(emulator, HELD)


# Another process


def test_another_process_can_add_jobs_move_runs_and_count(emulator: Emulator) -> None:
    assert ask(emulator, "/emulator/jobs/9", {"fate": "blocked", "parameters": {"day": ""}}, "PUT")[0] == 204
    run_id = run_now(emulator, 9, idempotency_token="t")
    moved = {"life_cycle_state": "SKIPPED", "result_state": "EXCLUDED", "message": "no"}
    assert ask(emulator, f"/emulator/runs/{run_id}", moved)[0] == 204
    run_now(emulator, 9, idempotency_token="t")
    ask(emulator, "runs/cancel", {"run_id": run_id})

    seen = ask(emulator, "/emulator/state")[1]

    assert seen["runs_created"] == {"t": 1}
    assert seen["runs_asked_for"] == {"t": 2}
    assert seen["cancels"] == {str(run_id): 1}
    assert [each["life_cycle_state"] for each in seen["runs"]] == ["SKIPPED"]
    assert [each["path"] for each in seen["requests"]] == ["run-now", "run-now", "runs/cancel"]


def test_runs_outlive_the_emulator_in_a_file_and_their_processes_do_not(tmp_path: Path) -> None:
    jobs = {HELD: Job(fate="hold"), SUM: Job()}
    kept = tmp_path / "runs.json"

    with Emulator(jobs=jobs, state=kept, startup=3_600) as before:
        held, working = run_now(before, HELD, idempotency_token="t"), run_now(before, SUM)

    with Emulator(jobs=jobs, state=kept) as after:
        assert run_now(after, HELD, idempotency_token="t") == held
        assert state(after, held) == ("RUNNING", None)
        assert state(after, working) == ("INTERNAL_ERROR", "FAILED")


@pytest.mark.slow
def test_as_a_program_it_prints_its_address_first_and_ends_on_sigterm() -> None:
    program = [
        sys.executable,
        "-m",
        emulator_package.__name__,
        "--job",
        "1=hold",
        "--declare",
        "day=monday",
        "--token",
        "t",
    ]

    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        request = urllib.request.Request(  # noqa: S310 - loopback
            f"{url}/api/2.2/jobs/run-now",
            data=b'{"job_id": 1, "job_parameters": {"day": "friday"}}',
            headers={"Authorization": "Bearer t"},
        )

        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 - loopback
            assert response.status == 200

        process.terminate()
        assert process.wait(timeout=30) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--job", "1"], "'1' is not ID=FATE"),
        (["--job", "1=lives"], "'1=lives' is not ID=FATE"),
        (["--job", "one=hold"], "'one=hold' is not ID=FATE"),
        (["--declare", "day"], "'day' does not begin with NAME="),
        (["--environment", "=x"], "'=x' does not begin with NAME="),
    ],
)
def test_as_a_program_it_refuses_invalid_arguments(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_as_a_program_it_says_in_one_line_that_its_port_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        assert main(["--port", str(port)], prog="countersign emulator") == 2

    printed = capsys.readouterr()
    assert (printed.out, printed.err) == (
        "",
        f"countersign emulator: port {port} cannot be bound: Address already in use\n",
    )


@pytest.mark.slow  # it starts a process
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_as_a_program_it_has_a_job_that_runs_the_notebook_unless_others_are_named(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "orchestrator.testing.emulator"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        assert process.stderr.readline() == "jobs: 1 (notebook)\n"
        process.send_signal(number)

        assert process.wait(timeout=30) == 0
        assert process.stderr.read() == ""


def test_as_a_program_it_refuses_a_file_that_describes_no_jobs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for text in ("", "[]", '{"x": {}}', '{"1": {"fates": "hold"}}', '{"1": {"tasks": {"b": {"depends_on": ["a"]}}}}'):
        (tmp_path / "jobs.json").write_text(text)

        with pytest.raises(SystemExit) as ended:
            main(["--jobs", str(tmp_path / "jobs.json")])

        assert ended.value.code == 2
        assert "does not describe jobs" in capsys.readouterr().err


@pytest.mark.slow  # it starts a process
def test_as_a_program_it_takes_jobs_of_many_tasks_from_a_file(tmp_path: Path) -> None:
    task = {"fate": "succeeds", "output": "42", "then": ["fails"]}
    jobs = {"125": {"tasks": {"load": task, "each": {"fate": "succeeds", "depends_on": ["load"], "for_each": ["a"]}}}}
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))

    with subprocess.Popen(
        [sys.executable, "-m", "orchestrator.testing.emulator", "--jobs", str(tmp_path / "jobs.json")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = process.stdout.readline().strip()
        assert process.stderr.readline() == "jobs: 125 (load, each)\n"
        request = urllib.request.Request(  # noqa: S310 - loopback
            f"{url}/api/2.2/jobs/run-now",
            data=b'{"job_id": 125}',
            headers={"Authorization": "Bearer emulator-token"},
        )

        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 - loopback
            assert response.status == 200

        with urllib.request.urlopen(f"{url}/emulator/state", timeout=30) as response:  # noqa: S310 - loopback
            (run,) = json.load(response)["runs"]

        process.terminate()

    assert (run["result_state"], run["tasks"][0]["result"]) == ("SUCCESS", "42")
