"""The commands as an operator runs them: starts and refused starts, readiness, draining, and the log."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.configuration import environment, fresh_key
from support.programs import refused, run

from orchestrator.testing.emulator.jobs_api import Emulator
from orchestrator.testing.emulator.workspace import Job
from orchestrator.testing.processes import ROOT, Service, free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

HOLDS = 1
PIPELINE = "/workflows/databricks_pipeline/a"
START = {"job_id": HOLDS}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with Emulator(jobs={HOLDS: Job(fate="hold")}) as emulator:
        databricks = {"DATABRICKS_HOST": emulator.url, "DATABRICKS_TOKEN": emulator.token}
        with Service(tmp_path, f"sqlite:///{tmp_path}/engine.db", environment=databricks) as one:
            yield one


@pytest.mark.parametrize("module", ["receiver", "orchestrator"])
def test_a_bad_setting_refuses_the_start_with_its_name_and_not_its_value(tmp_path: Path, module: str) -> None:
    bad = "not-a-key-but-secret"
    line = refused(run(module, tmp_path, environment(SIGNING_KEYS=bad)))

    assert "COUNTERSIGN_SIGNING_KEYS" in line
    assert bad not in line


def test_a_port_that_is_taken_refuses_the_start(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])

        assert "COUNTERSIGN_PORT" in refused(run("receiver", tmp_path, environment(PORT=port)))


def test_an_unknown_workflow_module_refuses_the_start(tmp_path: Path) -> None:
    assert "COUNTERSIGN_WORKFLOWS" in refused(run("receiver", tmp_path, environment(WORKFLOWS="no.such.module")))


@pytest.mark.parametrize("module", ["receiver", "orchestrator"])
def test_a_workflow_module_that_raises_refuses_the_start_in_one_line(tmp_path: Path, module: str) -> None:
    (tmp_path / "raising.py").write_text("import sys\nsys.exit('s3cret')")
    engine = "memory://" if module == "receiver" else f"http://127.0.0.1:{free_port()}"
    line = refused(run(module, tmp_path, environment(engine, WORKFLOWS="raising")))

    assert line == (
        "COUNTERSIGN_WORKFLOWS names a module, number 1, that cannot be imported: it raised SystemExit in its line 2"
    )


@pytest.mark.parametrize("module", ["receiver", "orchestrator"])
def test_with_json_logging_each_line_is_an_object(tmp_path: Path, module: str) -> None:
    engine = "memory://" if module == "receiver" else f"http://127.0.0.1:{free_port()}"
    variables = {"PYTHONPATH": str(ROOT), **environment(engine, LOG="info,json", PORT=str(free_port()))}
    log = tmp_path / "log"

    with log.open("wb") as stream:
        process = subprocess.Popen([sys.executable, "-m", module], cwd=tmp_path, env=variables, stderr=stream)

    try:
        wait_until("something is logged", lambda: log.read_text().endswith("\n"))
    finally:
        process.terminate()
        process.wait(30)

    assert all(
        {"time", "level", "logger", "message"} <= json.loads(line).keys() for line in log.read_text().splitlines()
    )


def test_a_worker_with_an_embedded_engine_refuses_to_start_and_says_why(tmp_path: Path) -> None:
    line = refused(run("orchestrator", tmp_path, environment(f"sqlite:///{tmp_path}/engine.db")))

    assert "python -m receiver" in line


def test_a_second_process_on_the_same_file_is_refused(service: Service, tmp_path: Path) -> None:
    service.start()

    line = refused(run("receiver", tmp_path, service.environment | {"COUNTERSIGN_PORT": "0"}))
    assert line == "COUNTERSIGN_ENGINE names a file that is in use by another process"
    assert service.ask("GET", "/readyz").status == 200


def test_the_embedded_engine_runs_from_any_directory_and_leaves_its_file_to_its_owner(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    with Service(tmp_path / "elsewhere", "sqlite:///state/engine.db") as service:
        service.start()

    file = tmp_path / "elsewhere/state/engine.db"
    assert file.is_file()
    assert file.stat().st_mode & 0o077 == 0


def test_a_receiver_starts_without_its_engine_and_says_so(tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    receiver = Service(tmp_path, nobody, environment={"COUNTERSIGN_ENGINE_TIMEOUT": "1"})

    with receiver:
        receiver.launch("receiver")
        wait_until("the receiver answers", lambda: answers(receiver, "/healthz"))
        refusal = receiver.ask("GET", "/readyz")
        assert (refusal.status, refusal.document["type"]) == (503, "urn:countersign:engine-unavailable")
        assert receiver.ask("PUT", PIPELINE, {"job_id": 1}).status == 503


def test_sigterm_lets_a_request_finish_and_ends_with_exit_code_0(service: Service) -> None:
    service.start()
    held: list[int] = []
    waiter = threading.Thread(
        target=lambda: held.append(service.ask("PUT", PIPELINE, START, headers={"Prefer": "wait=2"}).status)
    )
    waiter.start()
    wait_until("the request is being handled", lambda: answers(service, PIPELINE))

    assert service.stop() == 0
    waiter.join()
    assert held == [201]


def test_sigterm_does_not_wait_for_a_request_that_takes_too_long(service: Service) -> None:
    service.start()
    waiter = threading.Thread(target=lambda: ignoring(service, {"Prefer": "wait=30"}), daemon=True)
    waiter.start()
    wait_until("the request is being handled", lambda: answers(service, PIPELINE))
    receiver = service._running["receiver"]
    receiver.terminate()

    # The contract's ten seconds, and as much again for a busy machine; the request itself would take thirty.
    assert receiver.wait(20) == 0


@pytest.mark.parametrize("level", ["debug", "info"])
def test_no_log_line_holds_a_token_a_key_or_a_body(service: Service, tmp_path: Path, level: str) -> None:
    service.environment["COUNTERSIGN_LOG"] = level
    service.start()
    service.ask("PUT", PIPELINE, {"job_id": HOLDS, "parameters": {"marker": "body-of-the-start"}})
    wait_until("the link is out", lambda: len(service.ask("GET", f"{PIPELINE}?steps=1").document["steps"]) == 3)
    token = "A" * 200 + "." + "B" * 43
    service.ask("POST", f"/callbacks/{token}", "body-of-the-callback", token="x")
    service.ask("POST", "/callbacks", "body-of-the-callback", token=token)
    service.ask("DELETE", PIPELINE)
    wait_until("the pipeline is cancelled", lambda: service.ask("GET", PIPELINE).document["state"] == "cancelled")
    service.stop()

    log = service.log.read_text()
    assert "POST /callbacks" in log
    secrets = [token, service.api_key, "body-of-the", *(service.environment[name] for name in service.environment
        if name.endswith("_KEYS") or name == "DATABRICKS_TOKEN")]  # fmt: skip
    assert [secret for secret in secrets if secret in log] == []
    assert (tmp_path / "engine.db").read_bytes().find(b"body-of-the-start") == -1


@pytest.mark.parametrize("keys", [fresh_key(), "off"], ids=["another", "off"])
def test_payload_keys_that_cannot_read_what_is_under_way_refuse_the_start(
    service: Service, tmp_path: Path, keys: str
) -> None:
    service.start()
    service.ask("PUT", PIPELINE, {"job_id": HOLDS})
    service.stop()
    line = refused(run("receiver", tmp_path, service.environment | {"COUNTERSIGN_PAYLOAD_KEYS": keys}))

    assert line.startswith("COUNTERSIGN_PAYLOAD_KEYS ")
    assert keys not in line or keys == "off"


def test_a_payload_key_may_be_rotated_while_workflows_are_under_way(service: Service) -> None:
    service.start()
    service.ask("PUT", PIPELINE, {"job_id": HOLDS})
    service.stop()
    service.environment["COUNTERSIGN_PAYLOAD_KEYS"] += f",{fresh_key()}"
    service.start()

    assert service.ask("GET", PIPELINE).document["state"] == "running"


@pytest.mark.parametrize("engine", ["/proc/nope/engine.db", "{}/folder", "{}/foreign.db"])
def test_an_engine_file_that_cannot_be_used_refuses_the_start_without_being_named(tmp_path: Path, engine: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "foreign.db").write_bytes(b"something else")
    path = engine.format(tmp_path)
    line = refused(run("receiver", tmp_path, environment(f"sqlite:///{path}")))

    assert line.startswith("COUNTERSIGN_ENGINE names a file that ")
    assert Path(path).name not in line
    assert str(Path(path).parent) not in line


def test_a_host_that_is_not_ours_refuses_the_start(tmp_path: Path) -> None:
    for host in ("host.invalid", "192.0.2.1"):
        line = refused(run("receiver", tmp_path, environment(HOST=host)))
        assert line.startswith("COUNTERSIGN_HOST ")
        assert host not in line


@pytest.mark.parametrize("module", ["receiver", "orchestrator"])
def test_an_unknown_argument_refuses_the_start_in_one_line(tmp_path: Path, module: str) -> None:
    refused(run(module, tmp_path, environment(), "--nope"))


def answers(service: Service, path: str) -> bool:
    try:
        return service.ask("GET", path).status == 200
    except OSError:
        return False


def ignoring(service: Service, headers: dict[str, str]) -> None:
    try:
        service.ask("PUT", PIPELINE, START, headers=headers)
    except OSError:
        return


@pytest.mark.parametrize("module", ["receiver", "orchestrator"])
def test_help_is_printed_without_any_setting(tmp_path: Path, module: str) -> None:
    command = [sys.executable, "-m", module, "--help"]
    ended = subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True, check=False)

    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith(f"usage: python -m {module}")
