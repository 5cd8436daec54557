"""Databricks jobs: triggering a run once, watching it, cancelling it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

#: The notebook that a job runs to report back, as source to import into a workspace.
NOTEBOOK: Final = Path(__file__).with_name("notebook.py")
