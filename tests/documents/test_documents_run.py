"""Every command and every example of the documents, done in the order in which it stands, in an empty folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

import pytest
from support.documents.running import Run
from support.documents.terminal import Terminal

from orchestrator.testing.processes import ROOT

#: The ports that the documents name. Here they are free ones.
PORTS: Final = (8000, 8001, 8090)

INSTALLED: Final = "tests/e2e/test_wheel.py installs the wheel into an empty environment"
WORKSPACE: Final = "needs a workspace; tests/e2e/test_second_factor.py runs the notebook with these three secrets"
ROOT_AND_SYSTEMD: Final = (
    "needs root and systemd; tests/e2e/test_deploy_files.py checks the units and runs their commands"
)
DATABASE: Final = "needs the database of a deployment; tests/support/engines.py applies the same to one of its own"
OURSELVES: Final = "would run this very suite, or take as long"
MEASURES: Final = "takes minutes; tests/receiver/benchmark runs it with few workflows"

#: What cannot be done here, and why.
NOT_RUN: Final[dict[str, dict[str, str]]] = {
    "README.md": {
        "python3 -m venv ~/countersign && . ~/countersign/bin/activate": INSTALLED,
        "pip install .": INSTALLED,
        "scripts/check": OURSELVES,
        "scripts/test --fast": OURSELVES,
        "scripts/test": OURSELVES,
    },
    "orchestrator/README.md": {
        "```json": "describes jobs for the emulator; tests/documents/test_examples.py reads it as the emulator does",
        "python -m receiver.benchmark.watching --runs 1000 --interval 60": MEASURES,
        "databricks secrets create-scope countersign": WORKSPACE,
        "databricks secrets put-secret countersign caller": WORKSPACE,
        "databricks secrets put-secret countersign receiver": WORKSPACE,
    },
    "receiver/README.md": {},
    "scripts/README.md": {
        "cd /opt/countersign && uv sync --no-dev --frozen --extra postgres": (
            "would change the environment of the tests; tests/e2e/test_production.py does it in a copy of the checkout"
        ),
        "sudo install -m 600 countersign.env /etc/countersign.env": ROOT_AND_SYSTEMD,
        "# /etc/countersign.env": "names hosts of a deployment; tests/documents/test_examples.py reads it as settings",
        "sudo useradd --system countersign": ROOT_AND_SYSTEMD,
        "sudo cp scripts/deploy/*.service /etc/systemd/system/ && sudo systemctl daemon-reload": ROOT_AND_SYSTEMD,
        "sudo systemctl enable --now countersign-receiver@8000 countersign-receiver@8001": ROOT_AND_SYSTEMD,
        "sudo systemctl enable --now countersign-worker@default countersign-worker@db": ROOT_AND_SYSTEMD,
        "psql -d countersign -v ON_ERROR_STOP=1 -f resonate.sql": DATABASE,
        "scripts/doctor --sql | psql -d countersign -v ON_ERROR_STOP=1": DATABASE,
        "psql -d countersign -c 'ALTER FUNCTION resonate.process_timeouts() SECURITY DEFINER'": DATABASE,
        "psql -d countersign -c 'GRANT EXECUTE ON FUNCTION resonate.process_timeouts() TO resonate_worker'": DATABASE,
        "resonate serve --tasks-retry-timeout 500 --timeouts-poll-interval 100": (
            "serves at a fixed port until it is stopped; tests/support/engines.py starts it with these arguments"
        ),
        "```text": ("figures of one run; tests/receiver/benchmark tests the program that prints them"),
        "scripts/check": OURSELVES,
        "scripts/test --fast": OURSELVES,
        "scripts/test": OURSELVES,
        "scripts/bench": OURSELVES,
        "scripts/bench --quick": MEASURES,
        "scripts/bench --with-restate": MEASURES,
        "scripts/bench soak --picture scripts/soak.svg": MEASURES,
        "scripts/bench --with-restate --json results.json --picture scripts/bench.svg "
        "--readme scripts/README.md": MEASURES,
    },
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", NOT_RUN)
def test_a_document_does_what_it_says(name: str, tmp_path: Path) -> None:
    document = ROOT / name

    with Terminal(tmp_path, ports=PORTS, environment=environment()) as terminal:
        (terminal.work / "scripts").symlink_to(ROOT / "scripts")
        (terminal.home / ".curlrc").write_text("silent\n")

        try:
            Run(document, terminal, NOT_RUN[name]).all()
        except (AssertionError, TimeoutError) as error:
            error.add_note(terminal.logs())
            raise


def environment() -> dict[str, str]:
    """Return what a reader has who installed this checkout: its commands, and the default port."""
    commands = Path(sys.executable).parent

    return {"PATH": f"{commands}:{ROOT}:{os.environ['PATH']}", "COUNTERSIGN_PORT": "8000"}
