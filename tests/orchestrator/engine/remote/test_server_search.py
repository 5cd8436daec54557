"""A server that holds too many promises to sort by time is walked in the order of ids; what it cannot do is said."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from pydantic import BaseModel
from resonate_base import ConnectorError
from support.plant import plant

from orchestrator import Context, open_callback, workflow
from orchestrator.engine.remote import server_search
from orchestrator.engine.remote.server_search import ServerSearch
from orchestrator.engine.search import RootSearch, WaitSearch
from orchestrator.errors import EngineUnavailable
from orchestrator.runs.listing import WaitFilter, WorkflowFilter, list_waits, list_workflows

if TYPE_CHECKING:
    from pathlib import Path

    from support.plant import Plant

    from orchestrator.engine.search import Position


class Nothing(BaseModel):
    """No input."""


@workflow(name="walked")
async def walked(ctx: Context, request: Nothing) -> object:
    return (await (await open_callback(ctx, "answer", deadline=timedelta(days=1)))).kind


async def walk(here: Plant, limit: int) -> tuple[list[str], list[str], set[str]]:
    """Return the ids of all workflows and of all waits, in the order of the pages, and what was said."""
    said: set[str] = set()
    workflows: list[str] = []
    waits: list[str] = []
    place: Position | None = None

    while True:
        page = await list_workflows(here.engine, WorkflowFilter(), limit=limit, before=place)
        workflows += [row.name.id for row in page.rows]
        said |= set(page.caveats)
        place = page.next

        if place is None:
            break

    while True:
        found = await list_waits(here.engine, WaitFilter(), limit=limit, after=place)
        waits += [row.name.id for row in found.rows]
        said |= set(found.caveats)
        place = found.next

        if place is None:
            return workflows, waits, said


@pytest.mark.parametrize("engine_url", ["server"], indirect=True)
@pytest.mark.parametrize("limit", [1, 4])
async def test_too_many_promises_are_listed_by_id_each_once(
    tmp_path: Path, engine_url: str, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["c", "a", "d", "b", "e"]

    async with plant(tmp_path, engine_url, walked) as here:
        for name in names:
            await here.start(name)
            await here.opened(f"walked.{name}:1")

        by_time = await walk(here, limit)
        monkeypatch.setattr(server_search, "_READ", 2)
        monkeypatch.setattr(server_search, "_SORTED_READS", 1)
        monkeypatch.setattr(server_search, "_READS", 2)
        by_id = await walk(here, limit)

    assert by_time == (names[::-1], names, {server_search._SLOW})
    assert by_id == (sorted(names), sorted(names), {server_search._BY_ID})


class Fixed:
    """A network with the same answer to everything."""

    def __init__(self, answer: str | Exception) -> None:
        self.answer = answer

    async def send(self, req: str, headers: dict[str, str] | None = None) -> str:
        if isinstance(self.answer, Exception):
            raise self.answer

        return self.answer


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("<html>", "something else"),
        (json.dumps({"data": {"promises": [{"id": 7}]}}), "something else"),
        (json.dumps({"head": {"status": 501}, "data": {}}), "status 501"),
        (ConnectorError(OSError()), "did not answer"),
    ],
)
async def test_a_server_that_cannot_search_is_unavailable(answer: str | Exception, reason: str) -> None:
    search = ServerSearch(Fixed(answer), seconds=5)  # type: ignore[arg-type]

    with pytest.raises(EngineUnavailable, match=reason):
        await search.roots(RootSearch(limit=1))

    with pytest.raises(EngineUnavailable, match=reason):
        await search.waits(WaitSearch(limit=1))
