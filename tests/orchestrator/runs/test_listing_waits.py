"""Lists of open waits, on every engine: what they show, in which order, and by what they are found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.listed import ENGINES, ids, lists, until, waits

from orchestrator.runs.root_ids import RootName

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.plant import Plant

pytestmark = pytest.mark.parametrize(("engine_url", "variant"), ENGINES, indirect=["engine_url"])


@pytest.fixture
async def here(tmp_path: Path, engine_url: str, variant: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Plant]:
    async with lists(tmp_path, engine_url, variant, monkeypatch) as one:
        yield one


async def test_the_oldest_wait_is_listed_first_with_what_it_waits_for(here: Plant) -> None:
    await here.start("1", waits=True)
    opened = await here.opened("listed.1:1")
    await here.start("2", people=["ada@example.org", "bob@example.org"])
    asked = await here.opened("listed.2:1")

    first, second = await waits(here)

    assert (first.name, first.callback, first.audience) == (RootName("listed", "1"), "answer", "machine")
    assert (first.subject, first.title, first.people) == ("", None, None)
    assert (first.opened_at, first.expires_at) == (opened.created_at, opened.timeout_at)
    assert (second.name.id, second.callback, second.audience) == ("2", "ship", "approver")
    assert (second.title, second.people) == ("Ship it?", ("ada@example.org", "bob@example.org"))
    assert (second.subject, second.promise_id) == ("ada@example.org", asked.id)


async def test_an_answered_wait_is_listed_no_longer(here: Plant) -> None:
    await here.start("1", waits=True)
    await here.opened("listed.1:1")
    await here.answer("listed.1:1", name="answer")

    assert await waits(here) == []


async def test_a_wait_past_its_deadline_is_listed_no_longer(here: Plant) -> None:
    await here.start("1", waits=True, seconds=1)
    await here.opened("listed.1:1")

    await until(lambda: waits(here), 0)


async def test_waits_are_found_by_workflow_audience_and_person(here: Plant) -> None:
    await here.start("1", waits=True, subject="job 7")
    await here.opened("listed.1:1")
    await here.start("2", people=["ada@example.org"])
    await here.opened("listed.2:1")
    await here.start("3", people=["bob@example.org", "Ada@example.org"])
    await here.opened("listed.3:1")

    assert ids(await waits(here, audience="machine")) == ["1"]
    assert [wait.subject for wait in await waits(here, audience="machine")] == ["job 7"]
    assert ids(await waits(here, audience="approver", limit=1)) == ["2", "3"]
    assert ids(await waits(here, person="ADA@example.org", limit=1)) == ["2", "3"]
    assert ids(await waits(here, person="bob@example.org")) == ["3"]
    assert ids(await waits(here, person="bob@example.org", workflow="listed", audience="approver")) == ["3"]
    assert await waits(here, person="eve@example.org") == []
    assert await waits(here, person="ada") == []
    assert await waits(here, person="ada@example.org", audience="machine") == []
    assert ids(await waits(here, workflow="listed")) == ["1", "2", "3"]
    assert await waits(here, workflow="other") == []
