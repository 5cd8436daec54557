"""Lists of workflows, on every engine: what they show, in which order, and that nothing is missed."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from support.listed import ENGINES, Kept, churning, ids, lists, rows, until
from support.plant import pause

from orchestrator.runs.cancellation import request_cancel
from orchestrator.runs.root_ids import RootName

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.plant import Plant

    from orchestrator.runs.roots import State

pytestmark = pytest.mark.parametrize(("engine_url", "variant"), ENGINES, indirect=["engine_url"])


@pytest.fixture
async def here(tmp_path: Path, engine_url: str, variant: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Plant]:
    async with lists(tmp_path, engine_url, variant, monkeypatch) as one:
        yield one


async def test_the_latest_start_is_listed_first_with_its_state_and_times(here: Plant) -> None:
    await here.start("1")
    await here.ended("1")
    await here.start("2", fails=True)
    await here.ended("2")
    await here.start("3", waits=True)

    third, second, first = await rows(here)

    assert (first.name, first.state) == (RootName("listed", "1"), "succeeded")
    assert (second.name, second.state) == (RootName("listed", "2"), "failed")
    assert (third.name, third.state, third.ended_at) == (RootName("listed", "3"), "running", None)
    ended = await here.engine.promises.get("listed.1")
    assert (first.started_at, first.ended_at) == (ended.created_at, ended.settled_at)
    assert [row.fault for row in (first, second, third)] == [None, None, None]


@pytest.mark.parametrize("limit", [1, 3, 7])
async def test_pages_of_any_size_have_everything_once(here: Plant, limit: int) -> None:
    for number in range(7):
        await here.start(f"{number}", waits=number % 3 == 0)

    assert ids(await rows(here, limit=limit)) == ids(await rows(here))
    assert sorted(ids(await rows(here, limit=limit))) == [f"{number}" for number in range(7)]


async def test_workflows_are_found_by_name_state_and_start(here: Plant) -> None:
    for number, plan in enumerate(["", "fails", "waits", "waits", ""]):
        await here.start(f"{number}", **({plan: True} if plan else {}))
        await here.opened(f"listed.{number}:1") if plan == "waits" else await here.ended(f"{number}")
        await pause(0.002)

    await request_cancel(here.engine, "listed.3")
    await here.ended("3")
    starts = {row.name.id: row.started_at for row in await rows(here)}

    states: tuple[tuple[State, list[str]], ...] = (
        ("succeeded", ["4", "0"]),
        ("failed", ["1"]),
        ("running", ["2"]),
        ("cancelled", ["3"]),
        ("expired", []),
    )

    for state, expected in states:
        assert ids(await rows(here, state=state)) == expected
        assert ids(await rows(here, state=state, name="listed", limit=1)) == expected
        assert await rows(here, state=state, name="other") == []

    assert ids(await rows(here, since=starts["1"], until=starts["3"])) == ["3", "2", "1"]
    assert ids(await rows(here, since=starts["4"] + 1)) == []
    assert ids(await rows(here, until=starts["0"])) == ["0"]
    assert ids(await rows(here, name="listed")) == ["4", "3", "2", "1", "0"]
    assert await rows(here, name="list") == []


async def test_an_id_with_a_colon_comes_back_as_it_was_given(here: Plant) -> None:
    for name in ("a:b", "a.b", "ünderlying"[1:], "a@b+c-d"):
        await here.start(name, waits=True)

    assert sorted(ids(await rows(here, limit=1))) == sorted(["a:b", "a.b", "nderlying", "a@b+c-d"])


async def test_a_sub_workflow_is_listed_and_says_its_parent(here: Plant) -> None:
    await here.start("1", child=True)

    child, parent = await until(lambda: rows(here), 2)

    assert (parent.name.id, parent.parent) == ("1", None)
    assert child.parent == RootName("listed", "1")


async def test_a_walk_finds_everything_that_was_there_all_the_time_exactly_once(here: Plant) -> None:
    kept = Kept(here)

    for _ in range(40):
        await kept.add()

    async with churning(here, parts=4):
        for limit in (3, 5, 8):
            await kept.are_listed(limit=limit)


#: How many workflows start and end during the walks, by the scheme of the engine's address.
THOUSANDS = {"memory": 2000, "sqlite": 2000, "postgresql": 1000, "http": 1000}


@pytest.mark.slow
@pytest.mark.timeout(600)  # 7 to 15 seconds on a quiet machine, without coverage
async def test_a_walk_misses_nothing_while_workflows_start_and_end_by_the_thousand(
    here: Plant, engine_url: str
) -> None:
    kept, limits = Kept(here), itertools.cycle((50, 200))
    thousands = THOUSANDS[engine_url.partition(":")[0]]
    await kept.add()

    async with churning(here, parts=16, most=thousands) as ended:
        while len(ended) < thousands:
            # Among those that come and go, not only before them.
            await kept.add()
            await kept.are_listed(limit=next(limits))
