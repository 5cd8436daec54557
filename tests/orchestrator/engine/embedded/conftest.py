"""Fixtures for tests of the embedded engine: a file, an engine with or without one, and a disk that can be stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.embedded import Disk


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "engine.db"


@pytest.fixture(params=["memory", "file"])
def either(request: pytest.FixtureRequest, path: Path) -> Path | None:
    return path if request.param == "file" else None


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)
