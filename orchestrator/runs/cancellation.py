"""Cancelling a workflow: withdrawing its open callbacks and ending its other waits, until it is over.

The request is a durable promise of its own, with a task. So it outlives the process that took it, and is driven until
the workflow is over. The workflow itself decides how it ends: it sees the callback it waits for as cancelled,
compensates, and ends.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from orchestrator.callbacks.outcomes import Outcome, body_of
from orchestrator.callbacks.settlement import resolve
from orchestrator.durable.opened_at import opened_at
from orchestrator.durable.scheduling import create_task
from orchestrator.engine import Engine
from orchestrator.errors import EngineUnavailable, UnknownPromise
from orchestrator.runs.call_graph import PAGE, walk
from orchestrator.runs.cancel_record import CANCEL, cancel_ids, find_cancel, is_cancel_of
from orchestrator.runs.changed_code import wake
from orchestrator.runs.children import child_of
from orchestrator.runs.root_ids import root_id_of
from orchestrator.runs.unrun import end_if_unrun
from orchestrator.stored_names import CALLBACK_TAG

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from resonate.context import Context as SDKContext
    from resonate.types import PromiseRecord

logger = logging.getLogger(__name__)

_FIRST_PAUSE: Final = 1.0
_SLOWEST: Final = 60.0

#: How often a process that is not a worker pursues a cancel, and the seconds between two passes at most: together
#: longer than the grace of a workflow that nobody runs.
_PASSES: Final = 24
_FOLLOWED: Final = 8.0

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

    await _record(engine, root, timeout_at=int(((clock or engine.clock)() + _KEPT.total_seconds()) * 1000))
    await pursue(engine, root_id)

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


@dataclass(frozen=True, kw_only=True)
class Pursuit:
    """How far a cancel has come. `rest` is the step after which there is more to withdraw, None if there is none.

    `idle` is what was seen of the workflow, and of its sub-workflows, by their roots; the next call needs it.
    """

    rest: str | None
    idle: Mapping[str, Any]


async def pursue(
    engine: Engine, root_id: str, *, after: str | None = None, idle: Mapping[str, Any] | None = None
) -> Pursuit | None:
    """Withdraw what a cancelled workflow and its sub-workflows wait for; return None once it is over.

    Given what an earlier call has seen, it also ends those that nobody runs. A workflow is also over if another one was
    started under the same id.

    Raises:
        EngineUnavailable: some may be withdrawn already; repeating the call is safe.
    """
    try:
        root = await engine.promises.get(root_id)
    except UnknownPromise:
        return None

    requested = await find_cancel(engine.promises, root)

    if root.state != "pending" or requested is None:
        return None

    found = await _withdraw(engine, root, requested, after=after)
    await wake(engine.promises, root)
    seen: dict[str, Any] = {}

    for child_id in found.children:
        below = await pursue(engine, child_id, idle=idle)
        seen |= {} if below is None else below.idle

    if found.rest is None and after is None and idle is not None:
        look = await end_if_unrun(engine, root, steps=found.steps, before=idle.get(root_id))

        if look is None:
            return None

        seen[root_id] = look

    return Pursuit(rest=found.rest, idle=seen)


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What a page of steps has: where the next page begins, a text that changes with them, and sub-workflows."""

    rest: str | None
    steps: str
    children: Sequence[str]


async def _withdraw(
    engine: Engine, root: PromiseRecord, requested: PromiseRecord, *, after: str | None = None
) -> _Found:
    """Settle what this workflow waits for: its open callbacks as cancelled, its other waits without a value.

    Its sub-workflows are to be cancelled in the same way. Reads `PAGE` steps, those after the step `after`.

    Sleeps, calls to other worker groups and sub-workflows that began after the request are left alone: they belong to
    the compensation.
    """
    body = body_of("the workflow was cancelled")
    children: list[str] = []
    seen = settled = 0

    async for record in walk(engine.promises, root.id, after=after, unsettled=True):
        if seen == PAGE:
            return _Found(rest=after, steps="", children=children)

        seen, after = seen + 1, record.id

        if record.state != "pending":
            settled += 1
        elif CALLBACK_TAG in record.tags:
            outcome = Outcome(kind="cancelled", callback=record.tags[CALLBACK_TAG], by="cancel", body=body)
            await resolve(engine.promises, record.id, ikey="cancel", outcome=outcome, opened=opened_at(record))
        elif record.created_at > requested.created_at:
            continue
        elif (child := child_of(root, record)) is not None:
            children += await _cancel_child(engine, root_id_of(*child), requested)
        elif record.tags.get("resonate:scope") == "global":
            await engine.promises.cancel(record.id)

    return _Found(rest=None, steps=f"{seen}, {settled} over, last {after}" if seen else "", children=children)


async def _cancel_child(engine: Engine, root_id: str, requested: PromiseRecord) -> Sequence[str]:
    """Record that a sub-workflow is to be cancelled, and return its root's id; nothing if it has not started."""
    with contextlib.suppress(UnknownPromise):
        await _record(engine, await engine.promises.get(root_id), timeout_at=requested.timeout_at)

        return [root_id]

    return []


async def see_through(engine: Engine, root_id: str, *, sleep: Callable[[float], Awaitable[None]]) -> None:
    """Pursue a cancel until the workflow is over, or for some minutes: for a process that is not a worker.

    A workflow whose group has no worker is ended by this, and by nothing else.
    """
    pause, idle = _FIRST_PAUSE, dict[str, Any]()

    for _ in range(_PASSES):
        with contextlib.suppress(EngineUnavailable):
            if (seen := await pursue(engine, root_id, idle=idle)) is None:
                return

            idle = dict(seen.idle)

        await sleep(pause)
        pause = min(pause * 2, _FOLLOWED)


async def drive_cancel(ctx: SDKContext, request: dict[str, Any]) -> None:
    """Pursue a cancel until the workflow is over, because it may open another callback in between."""
    root_id = request["root"]
    pause = _FIRST_PAUSE
    after: str | None = None
    idle: Mapping[str, Any] = {}

    while True:
        match await ctx.run(_pursue_once, root_id, after, idle):
            case True:
                return
            case {"after": str() | None as after, "idle": dict(idle)}:
                pass
            case earlier:
                # As an earlier release recorded it: the step after which there is more, or False.
                after, idle = earlier or None, {}

        if after is None:
            await ctx.sleep(timedelta(seconds=pause))
            pause = min(pause * 2, _SLOWEST)


async def _pursue_once(
    ctx: SDKContext, root_id: str, after: str | None, idle: Mapping[str, Any]
) -> bool | dict[str, Any]:
    """Return True once the workflow is over, else what the next call needs."""
    seen = await pursue(ctx.get_dependency(Engine), root_id, after=after, idle=idle)

    if seen is None:
        return True

    logger.info("withdrew what %s waited for", root_id)

    return {"after": seen.rest, "idle": seen.idle}
