"""Lists of workflows and of open waits, on every engine: what they show, in which order, and that nothing is missed."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from pydantic import BaseModel
from support.plant import PATIENCE, pause, plant

from orchestrator import Context, Question, WorkflowFailed, ask_people, open_callback, run_workflow, workflow
from orchestrator.engine.embedded import retention
from orchestrator.runs.cancellation import request_cancel
from orchestrator.runs.listing import WaitFilter, WorkflowFilter, list_waits, list_workflows
from orchestrator.runs.root_ids import RootName

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from support.plant import Plant

    from orchestrator.runs.listing import WaitRow, WorkflowRow
    from orchestrator.runs.roots import State

ENGINES = ["memory", "sqlite"]


class Plan(BaseModel):
    """What the tests' workflow does."""

    fails: bool = False
    waits: bool = False
    subject: str = ""
    people: list[str] = []
    child: bool = False
    seconds: float = 86400


@workflow(timeout=timedelta(days=30))
async def listed(ctx: Context, request: Plan) -> object:
    if request.fails:
        raise WorkflowFailed("as planned")

    if request.child:
        return await run_workflow(ctx, listed, Plan(waits=True))

    if request.people:
        question = Question(title="Ship it?", text="A secret text.")
        return (await ask_people(ctx, "ship", question, request.people, deadline=timedelta(days=1))).decision

    if request.waits:
        deadline = timedelta(seconds=request.seconds)
        return (await (await open_callback(ctx, "answer", deadline=deadline, subject=request.subject))).kind

    return "done"


@workflow(name="other")
async def other(ctx: Context, request: Plan) -> object:
    return None


@pytest.fixture(params=[*ENGINES, "sqlite-archived"])
async def here(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Plant]:
    kind = request.param
    urls = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/engine.db"}
    url = urls.get(kind.partition("-")[0]) or request.getfixturevalue(f"{kind}_url")

    if kind == "sqlite-archived":
        # What is over leaves memory at once.
        monkeypatch.setattr(retention, "LINGER", 0)

    async with plant(tmp_path, url, listed, also=[other]) as one:
        yield one


async def rows(here: Plant, *, limit: int = 200, **chosen: Any) -> list[WorkflowRow]:
    """Return all rows, of as many pages as there are."""
    found: list[WorkflowRow] = []
    place = None

    while True:
        page = await list_workflows(here.engine, WorkflowFilter(**chosen), limit=limit, before=place)
        assert len(page.rows) <= limit
        found += page.rows
        place = page.next

        if place is None:
            return found


async def waits(here: Plant, *, limit: int = 200, **chosen: Any) -> list[WaitRow]:
    found: list[WaitRow] = []
    place = None

    while True:
        page = await list_waits(here.engine, WaitFilter(**chosen), limit=limit, after=place)
        found += page.rows
        place = page.next

        if place is None:
            return found


async def until(look: Callable[[], Any], count: int) -> list[Any]:
    """Return what `look` finds once there is so much of it."""
    with anyio.fail_after(PATIENCE):
        while len(found := await look()) != count:
            await pause(0.02)

    found_again: list[Any] = found
    return found_again


def ids(found: list[Any]) -> list[str]:
    return [row.name.id for row in found]


# -- workflows ----------------------------------------------------------------


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
    kept = [f"kept-{number}" for number in range(40)]
    over = False

    async def churn(part: int) -> None:
        number = 0

        while not over:
            number += 1
            name = f"{part}-{number}"
            await here.start(name, waits=number % 3 == 0, fails=number % 3 == 1)

            if number % 3 == 0:
                await here.opened(f"listed.{name}:1")
                await here.answer(f"listed.{name}:1", name="answer")

            await here.end(name)

    for number, name in enumerate(kept):
        await here.start(name, waits=number % 2 == 0)

        if number % 2:
            await here.end(name)

    async with asyncio.TaskGroup() as group:
        churning = [group.create_task(churn(part)) for part in range(4)]

        for limit in (3, 5, 8):
            found = ids(await rows(here, limit=limit))
            assert [each for each in found if each.startswith("kept")] == kept[::-1]
            assert len(set(found)) == len(found)
            running = ids(await rows(here, limit=limit, state="running"))
            assert [each for each in running if each.startswith("kept")] == kept[::-2][:0] + kept[-2::-2]
            assert len(set(running)) == len(running)
            open_ = ids(await waits(here, limit=limit))
            assert [each for each in open_ if each.startswith("kept")] == kept[::2]
            assert len(set(open_)) == len(open_)

        over = True
        await asyncio.wait(churning)


# -- waits --------------------------------------------------------------------


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
