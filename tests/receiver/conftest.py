"""Fixtures for several folders of these tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.edge import edge
from support.posting import IN_BODY, Post
from support.senders import senders, sources_file

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def post(tmp_path: Path) -> AsyncIterator[Post]:
    """Senders whose tokens are in the path."""
    known = senders()
    async with edge(tmp_path, SOURCES=sources_file(tmp_path, known)) as here:
        yield Post(here, known)


@pytest.fixture
async def inside(tmp_path: Path) -> AsyncIterator[Post]:
    """Senders whose tokens are in the signed body."""
    known = senders()
    async with edge(tmp_path, SOURCES=sources_file(tmp_path, known, IN_BODY)) as here:
        yield Post(here, known)
