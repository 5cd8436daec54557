"""A sleep of a workflow beside its record: it suspends the workflow and takes no place among its steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from resonate.error import Suspended
from resonate.ids import join_id
from resonate.types import PromiseCreateReq, Value

from orchestrator.engine import Engine
from orchestrator.sdk_internals import await_only, effects_of

if TYPE_CHECKING:
    from resonate.context import Context


async def sleep_aside(ctx: Context, until: int) -> NoReturn:
    """Suspend the workflow until this time, in milliseconds since the epoch, and for nothing else.

    Whatever is running is awaited first.
    """
    await ctx.flush_local_work()
    info = ctx.info
    promise_id = aside_id(info.id, until)
    tags = {
        "resonate:scope": "global",
        "resonate:target": ctx.get_dependency(Engine).own_address,
        "resonate:branch": promise_id,
        "resonate:parent": info.id,
        "resonate:origin": info.origin_id,
        "resonate:timer": "true",
    }
    timeout_at = min(until, info.timeout_at)
    await effects_of(ctx).create_promise(
        PromiseCreateReq(id=promise_id, timeout_at=timeout_at, param=Value(), tags=tags)
    )
    await_only(ctx, promise_id)

    raise Suspended


def aside_id(workflow_id: str, until: int) -> str:
    """Return the id of the promise that `sleep_aside` waits for."""
    return join_id(workflow_id, f"until{until}")
