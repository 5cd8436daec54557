"""The second factor end to end: a pipeline, a notebook that signs, and a receiver that accepts nothing unsigned."""

from __future__ import annotations

import base64
import secrets
from typing import TYPE_CHECKING

import pytest

from orchestrator.testing.emulator.jobs_api import Emulator
from orchestrator.testing.emulator.workspace import Job
from orchestrator.testing.processes import Service, wait_until

if TYPE_CHECKING:
    from pathlib import Path

JOB = 1
PIPELINE = "/workflows/databricks_pipeline/a"
SCOPE = {"proof_scope": "jobs", "proof_key": "caller", "proof_origin": "receiver"}


@pytest.mark.parametrize(("fails", "state"), [("", "succeeded"), ("no rows", "failed")])
def test_a_signed_report_ends_the_pipeline_and_the_token_alone_does_not(tmp_path: Path, fails: str, state: str) -> None:
    caller = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    scope: dict[str, str] = {}

    with Emulator(jobs={JOB: Job(environment=scope)}) as emulator:
        variables = {
            "DATABRICKS_HOST": emulator.url,
            "DATABRICKS_TOKEN": emulator.token,
            "COUNTERSIGN_CALLER_SECRETS": f"{caller}\n",
        }

        with Service(tmp_path, f"sqlite:///{tmp_path}/engine.db", environment=variables) as service:
            # With the newline that `databricks secrets put-secret` keeps when it reads a file.
            scope["COUNTERSIGN_SECRET_JOBS_CALLER"] = f"{caller}\n"
            scope["COUNTERSIGN_SECRET_JOBS_RECEIVER"] = f"{service.url}\n"
            service.start()
            parameters = {**SCOPE, "fail": fails, "seconds": "2"}
            service.ask("PUT", PIPELINE, {"job_id": JOB, "parameters": parameters})
            wait_until("the job is triggered", lambda: emulator.workspace.runs_created() == 1)
            token = emulator.workspace.runs()[0].parameters["callback_url"].rpartition("/")[2]
            answer = service.ask("POST", "/callbacks", {"rows": 0}, token=token)
            assert (answer.status, answer.document["type"]) == (401, "urn:countersign:invalid-proof")

            ended = service.ask("GET", PIPELINE, headers={"Prefer": "wait=30"}).document
            assert ended["state"] == state, emulator.workspace.runs()[0].output
            assert service.stop() == 0

    log = (tmp_path / "service.log").read_text()
    assert caller not in log
    assert token not in log
