"""A journal in a folder of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.engine.embedded.disk.journal import Journal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "engine.db"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    journal = Journal(path)
    journal.open()
    yield journal
    journal.close()
