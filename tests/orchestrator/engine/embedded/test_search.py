"""A search of the embedded engine shows what is on disk, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from resonate_base import ConnectorError
from support.embedded import LARGE, TARGET, Time, archived, create, engine, finished, full, resolve, until

from orchestrator.engine.embedded.disk.journal import Journal
from orchestrator.engine.search import RootSearch
from orchestrator.stored_names import NONCE_TAG

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_list_shows_nothing_that_was_lost_while_the_file_was_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = Time()

    async with engine(path, time) as connection:
        await connection.start()
        await finished(connection, "w.old", {NONCE_TAG: "a"})
        await create(connection, "w.open", TARGET | {NONCE_TAG: "b"})
        await time.pass_(connection, seconds=30)
        await until(connection, time, lambda: archived(connection) == {"w.old"})
        run = connection._durable.run
        lost: list[str] = []

        async def losing(step: Any) -> Any:
            found = await run(step)

            if getattr(step, "func", None) is Journal.read_roots:
                async with full(connection):
                    with pytest.raises(ConnectorError):
                        await resolve(connection, "w.open", LARGE)

                lost.append("w.open")

            return found

        monkeypatch.setattr(connection._durable, "run", losing)
        found = await connection.search(seconds=30).roots(RootSearch(limit=10))

        assert lost
        assert {record.id: record.state for record in found.records} == {"w.old": "resolved", "w.open": "pending"}
