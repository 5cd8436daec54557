"""Cancelling a workflow: withdrawing its open callbacks and ending its other waits, until it is over.

The request is a durable promise of its own, with a task. So it outlives the process that took it, and is driven until
the workflow is over. The workflow itself decides how it ends: it sees the callback it waits for as cancelled,
compensates, and ends.
"""

from __future__ import annotations

import contextlib
import logging
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from orchestrator.callbacks.outcomes import Outcome, body_of
from orchestrator.callbacks.settlement import resolve
from orchestrator.durable.opened_at import opened_at
from orchestrator.durable.scheduling import create_task
from orchestrator.engine import Engine
from orchestrator.errors import UnknownPromise
from orchestrator.runs.call_graph import PAGE, walk
from orchestrator.runs.cancel_record import CANCEL, cancel_ids, find_cancel, is_cancel_of
from orchestrator.runs.changed_code import wake
from orchestrator.runs.children import child_of
from orchestrator.runs.root_ids import root_id_of
from orchestrator.stored_names import CALLBACK_TAG

if TYPE_CHECKING:
    from collections.abc import Callable

    from resonate.context import Context as SDKContext
    from resonate.types import PromiseRecord

logger = logging.getLogger(__name__)

_FIRST_PAUSE: Final = 1.0
_SLOWEST: Final = 60.0
_KEPT: Final = timedelta(days=7)


async def request_cancel(engine: Engine, root_id: str, *, clock: Callable[[], float] | None = None) -> bool:
    """Request durably that this workflow be cancelled, and withdraw at once what it waits for now.

    If the workflow has very many steps, only the first ones are read here, and the rest by a worker. Returns whether
    the workflow was still running. Repeating the request is harmless.

    Raises:
        UnknownPromise: there is no workflow with this id.
        EngineUnavailable: whether the request is recorded is unknown; retrying is safe.
    """
    root = await engine.promises.get(root_id)

    if root.state != "pending":
        return False

    requested = await _record(engine, root, timeout_at=int(((clock or engine.clock)() + _KEPT.total_seconds()) * 1000))
    await withdraw(engine, root, requested_at=requested.created_at)
    await wake(engine.promises, root)

    return True


async def _record(engine: Engine, root: PromiseRecord, *, timeout_at: int) -> PromiseRecord:
    """Create the promise that says that this workflow is to be cancelled, unless it exists, and return it."""
    create = partial(
        create_task,
        engine,
        function=CANCEL,
        argument={"root": root.id},
        target=root.tags["resonate:target"],
        timeout_at=timeout_at,
    )
    *former, bound = cancel_ids(root)

    for promise_id in former:
        if is_cancel_of(requested := await create(promise_id), root):
            return requested

    return await create(bound)


async def withdraw(engine: Engine, root: PromiseRecord, *, requested_at: int, after: str | None = None) -> str | None:
    """Settle what this workflow waits for: its open callbacks as cancelled, its other waits without a value.

    Its sub-workflows are cancelled in the same way, and end by themselves.

    Reads `PAGE` steps, those after the step `after`. Returns the last one if there are more, else None.

    Sleeps, calls to other worker groups and sub-workflows that began after the request (milliseconds since the epoch)
    are left alone: they belong to the compensation.

    Raises:
        EngineUnavailable: some may be withdrawn already; repeating the call is safe.
    """
    body = body_of("the workflow was cancelled")
    seen = 0

    async for record in walk(engine.promises, root.id, after=after, unsettled=True):
        if seen == PAGE:
            return after

        seen, after = seen + 1, record.id

        if record.state != "pending":
            continue

        if CALLBACK_TAG in record.tags:
            outcome = Outcome(kind="cancelled", callback=record.tags[CALLBACK_TAG], by="cancel", body=body)
            await resolve(engine.promises, record.id, ikey="cancel", outcome=outcome, opened=opened_at(record))
        elif record.created_at > requested_at:
            continue
        elif (child := child_of(root, record)) is not None:
            with contextlib.suppress(UnknownPromise):  # not started yet
                await request_cancel(engine, root_id_of(*child))
        elif record.tags.get("resonate:scope") == "global":
            await engine.promises.cancel(record.id)

    return None


async def drive_cancel(ctx: SDKContext, request: dict[str, Any]) -> None:
    """Withdraw repeatedly until the workflow is over, because it may open another callback in between."""
    root_id = request["root"]
    pause = _FIRST_PAUSE
    after: str | None = None

    while (seen := await ctx.run(_withdraw_once, root_id, after)) is not True:
        after = seen or None

        if after is None:
            await ctx.sleep(timedelta(seconds=pause))
            pause = min(pause * 2, _SLOWEST)


async def _withdraw_once(ctx: SDKContext, root_id: str, after: str | None) -> bool | str:
    """Return True once the workflow is over, else the step after which there is more to withdraw, or False.

    A workflow is also over if another one was started under the same id.
    """
    engine = ctx.get_dependency(Engine)

    try:
        root = await engine.promises.get(root_id)
    except UnknownPromise:
        return True

    requested = await find_cancel(engine.promises, root)

    if root.state != "pending" or requested is None:
        return True

    rest = await withdraw(engine, root, requested_at=requested.created_at, after=after)
    logger.info("withdrew what %s waited for", root_id)

    return rest or False
