"""A workflow as an author writes it, with everything that one can have: a catalogue is printed and delivered.

It has dependencies, steps with policies of their own, a step of another worker group, a sub-workflow that runs a
Databricks job, a job of its own, a question to two people, a callback that a third party's webhook answers, and
compensation.

The outside world is an SQLite file, so that a test can count what the steps of all processes have done to it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Self

import anyio.to_thread
from pydantic import BaseModel

from orchestrator import (
    Address,
    Context,
    Question,
    WorkflowCancelled,
    WorkflowFailed,
    ask_people,
    compensating,
    dependency,
    group_step,
    open_callback,
    run_job,
    run_workflow,
    step,
    workflow,
)
from orchestrator.workflows.databricks_pipeline import databricks_pipeline

OUTSIDE: Final = Path("outside.db")

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS effects(kind TEXT, key TEXT, value TEXT, PRIMARY KEY (kind, key));
CREATE TABLE IF NOT EXISTS calls(kind TEXT, key TEXT);
"""


class Catalogue(BaseModel):
    """What is printed, with the prices that a job works out, and who must agree. Another job archives it."""

    issue: str
    copies: int
    job_id: int
    editors: list[str]


class CardRefused(Exception):
    """The bank will not pay, however often it is asked."""


class Outside:
    """The bank, the paper store and the printer, each of which does a thing once per key, however often it is asked."""

    def __init__(self, path: Path = OUTSIDE) -> None:
        self._path = path
        self._here: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        self._here = sqlite3.connect(self._path, timeout=10, check_same_thread=False, isolation_level=None)
        self._here.executescript(_SCHEMA)
        return self

    def __exit__(self, *_: object) -> None:
        if self._here is not None:
            self._here.close()

    async def do(self, kind: str, key: str, value: str = "") -> int:
        """Do this unless it was done for this key, and return how often it was asked for."""
        return await anyio.to_thread.run_sync(self._do, kind, key, value)

    def _do(self, kind: str, key: str, value: str) -> int:
        assert self._here is not None
        self._here.execute("INSERT INTO calls VALUES (?, ?)", (kind, key))
        self._here.execute("INSERT OR IGNORE INTO effects VALUES (?, ?, ?)", (kind, key, value))
        (times,) = self._here.execute("SELECT count(*) FROM calls WHERE kind = ? AND key = ?", (kind, key)).fetchone()

        return int(times)

    def effects(self, kind: str) -> dict[str, str]:
        """Return what was done, by key."""
        assert self._here is not None
        return dict(self._here.execute("SELECT key, value FROM effects WHERE kind = ? ORDER BY rowid", (kind,)))


@dependency
async def outside() -> AsyncIterator[Outside]:
    with Outside() as world:
        yield world


@workflow(timeout=timedelta(days=30))
async def catalogue(ctx: Context, request: Catalogue) -> dict[str, Any]:
    """Print a catalogue and have it delivered."""
    job = {"job_id": request.job_id, "parameters": {"issue": request.issue}, "watch_interval": 1}
    prices = run_workflow(ctx, databricks_pipeline, job)

    async with compensating(ctx) as undo:
        await ctx.shielded.run(pay_deposit, request.copies * 20)
        undo.add(pay_back)
        sheets = await ctx.call(reserve_paper, request.issue, request.copies)
        undo.add(release_paper, request.issue)

        question = Question(title=f"Print {request.issue}?", facts=[("Copies", str(request.copies))])
        asked = await ask_people(ctx, "editors", question, request.editors, need="all")

        if asked.decision == "cancelled":
            raise WorkflowCancelled("nobody wants it any more")

        if asked.decision != "approve":
            raise WorkflowFailed(f"the editors: {asked.decision}")

        priced = await prices
        delivery = await open_callback(ctx, "delivery", deadline=timedelta(days=10))
        await ctx.run(order_print, delivery.address)
        delivered = await delivery

        if not delivered.succeeded:
            raise WorkflowFailed(f"it was not delivered: {delivered.message or delivered.kind}")

        archived = await run_job(
            ctx, "archive", request.job_id, parameters={"issue": request.issue, "task": "archive"}, watch_interval=1
        )

    return {
        "sheets": sheets,
        "editors": [answer.person for answer in asked.answers],
        "prices": priced["result"],
        "run_id": priced["run_id"],
        "signed_for_by": delivered.value["parcel"]["signed_for_by"],
        "archived": archived.result,
    }


@step(tries=3, never_retry=(CardRefused,), timeout=timedelta(seconds=30))
async def pay_deposit(ctx: Context, cents: int) -> None:
    if cents > 1_000_000:
        raise CardRefused

    if await ctx.get_dependency(Outside).do("charge", ctx.info.origin_id, str(cents)) == 1:
        raise ConnectionError("the bank's answer was lost")


async def pay_back(ctx: Context) -> None:
    await ctx.get_dependency(Outside).do("refund", ctx.info.origin_id)


@group_step("db")
async def reserve_paper(ctx: Context, issue: str, copies: int) -> int:
    await ctx.get_dependency(Outside).do("reserve", issue, str(copies * 4))
    return copies * 4


@group_step("db", tries=3)
async def release_paper(ctx: Context, issue: str) -> None:
    await ctx.get_dependency(Outside).do("release", issue)


async def order_print(ctx: Context, address: Address) -> None:
    await ctx.get_dependency(Outside).do("order", ctx.info.origin_id, await address.token(ctx))
