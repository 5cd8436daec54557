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
        under_way.kept.end()

        if not is_settled or not await _is_running(engine, run.id):
            return None

        record = await engine.promises.get(promise_id)
    except (EngineUnavailable, UnknownPromise):
        # A replay finds out.
        return None
    finally:
        interrupts.begin_watch()
        under_way.end_keeping()

    return None if record.state == "pending" else record


async def _is_running(engine: Engine, root_id: str) -> bool:
    """Return whether the workflow has not ended meanwhile, by its own timeout say: then none of its code may run."""
    task = await engine.tasks.look(root_id)

    return task is not None and task.state == "acquired"
