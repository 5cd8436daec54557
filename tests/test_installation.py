"""The commands in a new environment run from any directory, without any environment variables."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import distribution
from typing import TYPE_CHECKING

import pytest

from orchestrator.testing.processes import ROOT

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("module", ["receiver", "orchestrator"])
@pytest.mark.slow
def test_a_command_runs_from_an_empty_directory(module: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", module],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "COUNTERSIGN_PUBLIC_URL is required\n"


@pytest.mark.slow
def test_the_environment_contains_this_checkout_itself() -> None:
    installed = distribution("countersign")

    assert installed.read_text("direct_url.json") is not None
    assert str(ROOT) in (installed.read_text("direct_url.json") or "")
