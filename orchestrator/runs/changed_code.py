"""A workflow whose code was changed so that it no longer fits the record: it is suspended, and tried again later.

It is not over. Under code that fits, such as a fixed deploy, it goes on where it was. A cancel ends it; its code cannot
compensate then.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Final

from resonate.error import PlatformError, StoppedError

from orchestrator.durable.sleep_aside import aside_id, sleep_aside
from orchestrator.durable.try_records import ALL_UP_TO, TryRecords, read_tries
from orchestrator.engine import Engine
from orchestrator.errors import EngineUnavailable, UnknownPromise, WorkflowCancelled
from orchestrator.runs.cancel_record import find_cancel
from orchestrator.text.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resonate.types import PromiseRecord

    from orchestrator.durable.context import Context
    from orchestrator.durable.try_records import TryRecord
    from orchestrator.engine.promises import Promises
    from orchestrator.runs.step_view import StepView

logger = logging.getLogger(__name__)

#: Seconds until the second look; each further pause is twice as long, so a workflow goes on soon after a quick fix.
_FIRST_PAUSE: Final = 1.0
_SLOWEST: Final = 300.0

#: Milliseconds by which a try may be late.
_LATE: Final = 60_000


async def suspend_or_cancel(flow: Context, changed: str) -> WorkflowCancelled:
    """Return the end of this workflow if somebody asked to cancel it, else log how it changed and suspend it.

    Raises:
        Suspended: the workflow is run again later.
        PlatformError: the engine cannot be reached, and delivers the workflow again.
    """
    engine = flow.get_dependency(Engine)

    try:
        root = await engine.promises.get(flow.info.id)

        if await find_cancel(engine.promises, root) is not None:
            await flow.await_nothing()

            return WorkflowCancelled(f"the workflow was cancelled, and its code did not compensate: {changed}")

        records = TryRecords(engine.promises, flow.info.id, clock=engine.clock)
        number = await records.next_number()
        at = int(engine.clock() * 1000)
        pause = min(_FIRST_PAUSE * 2 ** min(number - 1, 16), _SLOWEST)
        next_at = at + int(pause * 1000)
        logger.error(
            "workflow %s cannot go on: %s; it is not over: the next try is in %g s, at %s",
            flow.info.id,
            changed,
            pause,
            rfc3339(next_at),
            extra={"fields": {"event": "code-changed", "workflow": flow.info.id, "next_at": rfc3339(next_at)}},
        )
        await records.add(number, at=at, error=changed, next_at=next_at)
        await sleep_aside(flow, next_at)

    except (EngineUnavailable, UnknownPromise) as error:
        raise PlatformError([StoppedError()]) from error


async def held_up(engine: Engine, root_id: str, steps: Sequence[StepView]) -> TryRecord | None:
    """Return the last try to go on with this workflow, given its steps, if it waits for code that fits its record.

    Raises:
        UnknownPromise, EngineUnavailable: as for any read.
    """
    last = (await read_tries(engine.promises, await engine.promises.get(root_id)))[-1:]
    progress = max((time for step in steps for time in (step.started_at, step.ended_at or 0)), default=0)

    for record in last:
        # Later ones are not all recorded.
        is_last = record.number >= ALL_UP_TO or (record.next_at or 0) + _LATE > engine.clock() * 1000

        if is_last and progress <= record.at:
            return record

    return None


async def wake(promises: Promises, root: PromiseRecord) -> None:
    """Let a workflow that is suspended here run now, so that it sees a cancel.

    Raises:
        EngineUnavailable: as for any call; repeating this is safe.
    """
    for record in (await read_tries(promises, root))[-1:]:
        if record.next_at is not None:
            with contextlib.suppress(UnknownPromise):
                await promises.cancel(aside_id(root.id, record.next_at))
