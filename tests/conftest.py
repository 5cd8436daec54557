"""What every test gets: asyncio as the backend, a loop that refuses blocking calls, and the engines."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from engines import KINDS, Database, postgres, resonate_server

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def anyio_backend() -> str:
    """The SDK runs on asyncio alone."""
    return "asyncio"


@pytest.fixture(scope="session")
def database() -> Iterator[Database]:
    """A Postgres server for the whole session; every test takes a database of its own from it."""
    # Not below pytest's own folder: run as root, the server is another user's, who may not look into that.
    folder = tempfile.TemporaryDirectory(prefix="countersign-", ignore_cleanup_errors=True)

    with folder as name, postgres(Path(name)) as one:
        yield one


@pytest.fixture(params=KINDS)
def engine_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an engine that nobody used before, of each kind in turn."""
    match request.param:
        case "memory":
            yield "memory://"
        case "sqlite":
            yield f"sqlite:///{tmp_path}/engine.db"
        case "postgres":
            yield request.getfixturevalue("database").fresh()
        case "server":
            with resonate_server(tmp_path) as url:
                yield url
