"""Answering by hand over HTTP: a workflow that waits for a machine, and a request that answers it."""

from __future__ import annotations

import contextlib
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from support.approving import Desk
from support.configuration import API_KEY
from support.plant import PATIENCE, pause

from orchestrator import Context, open_callback, workflow
from orchestrator.errors import UnknownPromise

if TYPE_CHECKING:
    import httpx2

KEY = {"Authorization": f"Bearer {API_KEY}"}
REASON = "The sender is down, and the bank has confirmed it by phone."


class Waiting(BaseModel):
    """What the tests' workflow waits for, one after the other."""

    rounds: int = 1
    outcomes: tuple[str, ...] = ("succeeded", "failed")
    deadline: float = 3600


@workflow()
async def payment(ctx: Context, request: Waiting) -> list[Any]:
    """Wait for a machine, as often as asked, under one name."""
    told = []

    for _ in range(request.rounds):
        callback = await open_callback(
            ctx, "paid", deadline=timedelta(seconds=request.deadline), outcomes=request.outcomes
        )
        outcome = await callback
        told.append([outcome.kind, outcome.value, outcome.by, outcome.subject, outcome.reason])

    return told


async def waiting(here: Desk, *, rounds: int = 1, **request: Any) -> None:
    """Start the workflow, and return once its first wait is open."""
    await here.start(payment, "1", rounds=rounds, **request)
    await opened(here, "payment.1:1")


async def opened(here: Desk, promise_id: str) -> None:
    """Return once this wait exists."""
    for _ in range(int(PATIENCE * 50)):
        with contextlib.suppress(UnknownPromise):
            await here.state(promise_id)
            return

        await pause(0.02)

    raise UnknownPromise(promise_id)


async def answer(
    here: Desk, callback: str = "payment/1/callbacks/paid", outcome: Any = "succeeded", **rest: Any
) -> httpx2.Response:
    """Answer by hand. The rest are members of the body, `...` for one that is to be absent, and `headers`."""
    headers = rest.pop("headers", {})
    body = {"outcome": outcome, "reason": REASON} | rest
    content = json.dumps({name: value for name, value in body.items() if value is not ...})

    return await here.client.post(
        f"/workflows/{callback}", content=content, headers={"Content-Type": "application/json", **KEY, **headers}
    )
