"""What the programs in `scripts/` print while they install. A slow stand-in replaces uv."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.testing.processes import ROOT

pytestmark = pytest.mark.slow  # each test starts a process

#: A uv whose `sync` waits, and whose `sync --check` returns the exit code that the test sets.
UV = """#!/bin/sh
case "$*" in
    --version) exit 0 ;;
    *--check*) echo noise; echo noise >&2; exit {outdated} ;;
    *sync*) sleep {seconds}; exit {code} ;;
esac
"""


class Checkout:
    """The programs of this checkout in a folder of their own, with a stand-in for uv on PATH."""

    def __init__(self, root: Path) -> None:
        self.root = root
        shutil.copytree(ROOT / "scripts", root / "scripts")
        (root / "bin").mkdir()
        # Found by its name, like any installed Python.
        (root / "bin/python3").symlink_to(sys.executable)

    def uv(self, *, outdated: int = 1, seconds: float = 0, code: int = 0) -> None:
        program = self.root / "bin/uv"
        program.write_text(UV.format(outdated=outdated, seconds=seconds, code=code))
        program.chmod(0o755)

    def has_environment(self) -> None:
        """Create an environment whose Python works, but prints the name of a program instead of running it."""
        program = self.root / ".venv/bin/python"
        program.parent.mkdir(parents=True)
        program.write_text(f'#!/bin/sh\n[ "$1" != -c ] || exec {sys.executable} "$@"\necho "$@"\n')
        program.chmod(0o755)

    @contextmanager
    def started(self, name: str) -> Iterator[subprocess.Popen[str]]:
        with subprocess.Popen(
            [self.root / "scripts" / name],
            env={"PATH": f"{self.root / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin"},
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "checkout")


@pytest.mark.parametrize("name", ["demo", "doctor", "test"])
def test_a_first_start_says_within_a_second_that_it_installs(checkout: Checkout, name: str) -> None:
    checkout.uv(seconds=30)

    with checkout.started(name) as process:
        assert process.stderr is not None
        began = time.monotonic()
        line = process.stderr.readline()
        seconds = time.monotonic() - began

    assert line == "Installing into .venv, which takes about a minute the first time.\n"
    assert seconds < 1


def test_a_later_start_says_nothing_unless_the_environment_is_outdated(checkout: Checkout) -> None:
    checkout.has_environment()

    for outdated, message in ((0, ""), (1, "Updating .venv.\n")):
        checkout.uv(outdated=outdated)

        with checkout.started("demo") as process:
            printed = process.communicate(timeout=30)

        assert (process.returncode, printed) == (0, (f"{checkout.root}/scripts/demo.py\n", message))


def test_an_environment_that_cannot_be_built_is_refused_and_nothing_is_run(checkout: Checkout) -> None:
    checkout.has_environment()
    checkout.uv(code=1)

    with checkout.started("demo") as process:
        printed = process.communicate(timeout=30)

    assert (process.returncode, printed) == (
        2,
        ("", "Updating .venv.\nthe environment could not be built: see above\n"),
    )
