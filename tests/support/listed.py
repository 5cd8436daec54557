"""Workflows that are listed, on every engine, and all pages of a list in one."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import anyio
from pydantic import BaseModel
from support.engines import Database
from support.plant import PATIENCE, pause, plant

from orchestrator import Context, Question, WorkflowFailed, ask_people, open_callback, run_workflow, workflow
from orchestrator.engine.embedded import retention
from orchestrator.engine.remote.postgres_search import lists_sql
from orchestrator.runs.listing import WaitFilter, WorkflowFilter, list_waits, list_workflows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    import pytest
    from support.plant import Plant

    from orchestrator.runs.listing import WaitRow, WorkflowRow

#: Engines, and variants of them. `archived`: what is over leaves memory at once. `indexed`: with our SQL applied.
ENGINES = [
    ("memory", ""),
    ("sqlite", ""),
    ("sqlite", "archived"),
    ("postgres", ""),
    ("postgres", "indexed"),
    ("server", ""),
]


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


@contextlib.asynccontextmanager
async def lists(directory: Path, url: str, variant: str, patch: pytest.MonkeyPatch) -> AsyncIterator[Plant]:
    """Run a worker for these workflows on this variant of an engine."""
    if variant == "archived":
        patch.setattr(retention, "LINGER", 0)
    elif variant == "indexed":
        Database.apply(url, lists_sql())

    async with plant(directory, url, listed, also=[other]) as one:
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


@contextlib.asynccontextmanager
async def churning(here: Plant, *, parts: int, most: float = math.inf) -> AsyncIterator[list[str]]:
    """Start and end workflows during this block, so many at a time; yield the ids of those that have ended so far.

    No more are started once as many as `most` have ended, so that slow walks do not grow longer and longer.
    """
    ended: list[str] = []
    over = False

    async def churn(part: int) -> None:
        for number in itertools.count(1):
            if over or len(ended) >= most:
                return

            name = f"{part}-{number}"
            await here.start(name, waits=number % 3 == 0, fails=number % 3 == 1)

            if number % 3 == 0:
                await here.opened(f"listed.{name}:1")
                await here.answer(f"listed.{name}:1", name="answer")

            await here.end(name)
            ended.append(name)

    async with asyncio.TaskGroup() as group:
        for part in range(parts):
            group.create_task(churn(part))

        yield ended
        over = True


class Kept:
    """Workflows that stay as they are, every second of them in a wait, among all that start and end meanwhile."""

    def __init__(self, here: Plant) -> None:
        self._here = here
        self._all: list[str] = []

    async def add(self) -> None:
        """Start one more, and return once it stays as it is."""
        number = len(self._all)
        name = f"kept-{number}"
        await self._here.start(name, waits=number % 2 == 0)

        if number % 2:
            await self._here.end(name)
        else:
            await self._here.opened(f"listed.{name}:1")

        self._all.append(name)

    async def are_listed(self, *, limit: int) -> None:
        """Check that walks in pages of this size find each of them exactly once, in order, and nothing twice."""
        newest, waiting = self._all[::-1], self._all[::2]

        for found, expected in (
            (await rows(self._here, limit=limit), newest),
            (await rows(self._here, limit=limit, state="running"), waiting[::-1]),
            (await waits(self._here, limit=limit), waiting),
        ):
            names = ids(found)
            assert [name for name in names if name.startswith("kept")] == expected
            assert len(set(names)) == len(names)


async def until(look: Callable[[], Any], count: int) -> list[Any]:
    """Return what `look` finds once there is so much of it."""
    with anyio.fail_after(PATIENCE):
        while len(found := await look()) != count:
            await pause(0.02)

    found_again: list[Any] = found
    return found_again


def ids(found: list[Any]) -> list[str]:
    return [row.name.id for row in found]
