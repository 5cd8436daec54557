"""Code of a workflow that waits for an answer in memory instead of being suspended; see `WorkflowCache`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from orchestrator.engine.search import workflow_of
from orchestrator.errors import EngineUnavailable, UnknownPromise

if TYPE_CHECKING:
    from resonate.types import Info, PromiseRecord

    from orchestrator.durable.interrupts import Interrupts
    from orchestrator.durable.under_way import UnderWay
    from orchestrator.engine import Engine


async def kept_until_over(
    promise_id: str, engine: Engine, run: Info, under_way: UnderWay, interrupts: Interrupts
) -> PromiseRecord | None:
    """Return the record of a wait of this run once it is settled, None when the code must be suspended until then.

    The code is kept only while nothing of it runs beside the wait: it would not learn of anything else.
    """
    if engine.cache is None or not under_way.is_alone or not under_way.idle or run.id != run.origin_id:
        return None

    under_way.begin_keeping(partial(engine.cache.drop, promise_id))
    # A cancel ends the wait, so nobody needs to look for one.
    interrupts.end_watch()

    try:
        place = workflow_of(promise_id), promise_id.removeprefix(run.id)
        is_settled = await engine.cache.settled(promise_id, place=place)
        record = await engine.promises.get(promise_id) if is_settled else None
    except (EngineUnavailable, UnknownPromise):
        # A replay finds out.
        return None
    finally:
        interrupts.begin_watch()
        under_way.end_keeping()

    if record is None or record.state == "pending":
        return None

    # The workflow has ended at the same moment, so none of its code may run any more.
    has_ended = record.state == "rejected_timedout" and record.timeout_at >= run.timeout_at

    return None if has_ended else record
