"""The service does what its OpenAPI document says: every check and phase of schemathesis, with the same inputs."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
from support import schemathesis_hooks
from support.browsing import served
from support.configuration import API_KEY

from orchestrator.workflows import approve_and_ship

#: What no schema can say: to which list a cursor belongs, which steps a run has, which decisions a question has, and
#: whether a wait is still open.
CONFIGURATION = """
hooks = {hooks}

[auth.openapi.apiKey]
bearer = "{key}"

[auth.openapi.callbackToken]
bearer = "none"

[[operations]]
include-path = ["/waits", "/workflows"]
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", "400", "401", "403", "404"]

[[operations]]
include-path = ["/workflows/{{name}}/{{id}}", "/workflows/{{name}}/{{id}}/callbacks/{{callback}}"]
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", "401", "403", "404", "409", "422"]

[[operations]]
include-path = "/workflows/{{name}}/{{id}}/callbacks/{{callback}}/remind"
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", "401", "403", "404", "409", "410", "429"]
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_the_service_does_what_its_document_says(tmp_path: Path) -> None:
    hooks = json.dumps(str(Path(schemathesis_hooks.__file__)))
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION.format(hooks=hooks, key=API_KEY))

    async with served(tmp_path, workflows=[approve_and_ship]) as (_, url):
        running = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("schemathesis")),
            *("--config-file", str(tmp_path / "schemathesis.toml"), "run", f"{url}/openapi.json", "--no-color"),
            *("--generation-deterministic", "--max-examples", "4", "--continue-on-failure", "--max-time", "90"),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        told, _ = await running.communicate()

    assert running.returncode == 0, told.decode()
