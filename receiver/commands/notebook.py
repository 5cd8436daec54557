"""Prints the source of the notebook that a Databricks job runs to call back, ready to be imported."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from orchestrator.databricks import NOTEBOOK

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None, *, prog: str = "countersign notebook") -> int:
    """Print the notebook byte for byte, whatever the terminal's encoding; return the exit code."""
    argparse.ArgumentParser(
        prog=prog,
        description="Prints the Databricks notebook, which does the work and calls back.",
        epilog="Save it to a file, put your work into its function `work`, and import it into the workspace.",
    ).parse_args(arguments)
    sys.stdout.buffer.write(NOTEBOOK.read_bytes())
    sys.stdout.flush()

    return 0
