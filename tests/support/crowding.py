"""Thousands of open questions, quickly: real workflows and real waits, but nobody gets a mail about them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from datetime import timedelta
from typing import TYPE_CHECKING

import anyio
from pydantic import BaseModel
from support.plant import PATIENCE, pause

from orchestrator import Context, Question, workflow
from orchestrator.callbacks.callback import open_inquiry
from orchestrator.errors import UnknownPromise
from orchestrator.runs.roots import start_root

if TYPE_CHECKING:
    from orchestrator.engine import Engine

_AT_ONCE = 250


class Asked(BaseModel):
    """Who is asked."""

    person: str


@workflow(timeout=timedelta(days=30))
async def crowd(ctx: Context, request: Asked) -> str:
    """Ask one person, without telling them."""
    question = Question(title=f"A question to {request.person}", text="All tests are green.")
    wait = await open_inquiry(ctx, "question", question, (request.person,), need="any", deadline=timedelta(days=1))

    return (await wait).kind


async def crowded(engine: Engine, numbers: range) -> None:
    """Start one of these workflows for each number, for a person of that number; return once all of them wait."""
    for first in range(numbers.start, numbers.stop, _AT_ONCE):
        async with asyncio.TaskGroup() as group:
            for number in range(first, min(first + _AT_ONCE, numbers.stop)):
                group.create_task(_start(engine, number))

    for number in numbers:
        await _waiting(engine, f"{crowd.name}.{number}:1")


async def _start(engine: Engine, number: int) -> None:
    await start_root(
        engine,
        name=crowd.name,
        workflow_id=f"{number}",
        text=json.dumps({"person": f"person-{number}@example.org"}),
        group=crowd.group,
        timeout=crowd.timeout,
    )


async def _waiting(engine: Engine, promise_id: str) -> None:
    """Return once this wait is there."""
    with anyio.fail_after(PATIENCE):
        while True:
            with contextlib.suppress(UnknownPromise):
                await engine.promises.get(promise_id)
                return

            await pause(0.05)
