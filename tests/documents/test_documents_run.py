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

#: What cannot be done here, and why.
NOT_RUN: Final[dict[str, dict[str, str]]] = {
    "README.md": {
        "python3 -m venv ~/countersign && . ~/countersign/bin/activate": "as the next line",
        "pip install .": "needs a package index; tests/test_distribution.py installs the wheel into an empty environment",
    },
    "orchestrator/README.md": {
        command: "needs a workspace; tests/e2e/test_second_factor.py runs the notebook with these three secrets"
        for command in (
            "databricks secrets create-scope countersign",
            "databricks secrets put-secret countersign caller",
            "databricks secrets put-secret countersign receiver",
        )
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
