"""The commands, run until they end by themselves."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from orchestrator.testing.processes import ROOT, free_port

if TYPE_CHECKING:
    from pathlib import Path


def run(module: str, folder: Path, variables: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command until it ends by itself."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "COUNTERSIGN_PORT": str(free_port())} | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def refused(ended: subprocess.CompletedProcess[str]) -> str:
    """Check that this was a refused start, and return its one line."""
    assert ended.returncode == 2, ended.stderr
    (line,) = ended.stderr.splitlines()
    return line
