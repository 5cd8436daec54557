"""The watcher: it asks the Jobs API about a run that has not called back, so that no workflow waits for a dead job.

Each poll is a small durable task of its own that schedules the next one. A poll settles only the wait of a dead run,
and a real callback that arrives first wins.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from orchestrator.callbacks.outcomes import Outcome, body_of
from orchestrator.callbacks.settlement import resolve
from orchestrator.callbacks.wait_traces import trace_wait
from orchestrator.databricks.jobs import Databricks
from orchestrator.databricks.run import JobRun, RunGone
from orchestrator.durable.opened_at import read_wait
from orchestrator.durable.scheduling import schedule, when_due
from orchestrator.engine import Engine
from orchestrator.errors import StepRefused, StepUnavailable, UnknownPromise

if TYPE_CHECKING:
    from resonate.context import Context as SDKContext
    from resonate.types import PromiseRecord

    from orchestrator.callbacks.claims import Claims

logger = logging.getLogger(__name__)

#: How the Jobs API says that a run was skipped because of the job's maximum of concurrent runs: as a `result_state`,
#: and as the `code` of the newer `termination_details`.
_LIMIT_REACHED: Final = frozenset({"MAXIMUM_CONCURRENT_RUNS_REACHED", "MAX_CONCURRENT_RUNS_EXCEEDED"})

POLL: Final = "countersign.look"


@dataclass(frozen=True, kw_only=True)
class Watch:
    """A run that is watched: which wait it answers for, the seconds between polls, and how many polls there were.

    It is stored in the engine until the next poll, so a later release must read what an earlier one has stored.
    `opened_at` is that of the wait's `Address`.
    """

    promise_id: str
    callback: str
    run_id: int
    interval: float
    looks: int = 0
    opened_at: int | None = None


async def schedule_poll(ctx: SDKContext, watch: Watch, *, now: float | None = None) -> None:
    """Schedule the next poll of a run, one interval from now; for use in a step. Repeating the call schedules nothing.

    Raises:
        EngineUnavailable, UnknownPromise: raised in a step, it makes the SDK try the step again.
    """
    await schedule(
        ctx,
        await _wait_of(ctx, watch),
        f"look{watch.looks}",
        function=POLL,
        argument={"watch": asdict(watch)},
        seconds=watch.interval,
        now=now,
    )


async def poll(ctx: SDKContext, task: dict[str, Any]) -> str:
    """Poll a run once: settle its wait if the run is over, else schedule the next poll. Returns what was seen."""
    return await when_due(ctx, task, _poll_once, Watch(**task["watch"]))


async def _poll_once(ctx: SDKContext, watch: Watch) -> str:
    try:
        wait = await _wait_of(ctx, watch)
    except UnknownPromise:
        return "the wait is gone"

    if wait.state != "pending":
        return "the wait is over"

    try:
        run = await ctx.get_dependency(Databricks).read(watch.run_id)
    except StepUnavailable as error:
        logger.warning("run %s could not be polled: %s", watch.run_id, error)
        seen = "unavailable"
    except RunGone as error:
        await _settle(ctx, watch, watch.run_id, body_of(f"{error}, and it did not call back"))

        return "gone"
    except StepRefused as error:
        logger.warning("polling run %s was refused: %s", watch.run_id, error)
        seen = "refused"
    else:
        if run.over:
            await settle_dead(ctx, watch, run)

            return f"over: {run.life_cycle_state}"

        seen = run.life_cycle_state

    await schedule_poll(ctx, replace(watch, looks=watch.looks + 1))

    return seen


async def _wait_of(ctx: SDKContext, watch: Watch) -> PromiseRecord:
    return await read_wait(ctx.get_dependency(Engine).promises, watch.promise_id, watch.opened_at)


async def settle_dead(ctx: SDKContext, wait: Watch | Claims, run: JobRun) -> None:
    """Settle the wait of a run that is over as died, unless a callback was first; for use in a step.

    The caller has checked that the engine's wait with this id is the one that the run answers for.

    Raises:
        EngineUnavailable: raised in a step, it makes the SDK try the step again.
    """
    details = {
        "life_cycle_state": run.life_cycle_state,
        "result_state": run.result_state,
        "state_message": run.message,
        "run_page_url": run.page_url,
    }
    body = body_of(how_it_ended(run), details)
    await _settle(ctx, wait, run.run_id, body)


async def _settle(ctx: SDKContext, wait: Watch | Claims, run_id: int, body: str) -> None:
    outcome = Outcome(kind="died", callback=wait.callback, by="watcher", body=body)
    engine = ctx.get_dependency(Engine)
    settlement = await resolve(
        engine.promises,
        wait.promise_id,
        ikey=f"watcher:{run_id}",
        outcome=outcome,
        opened=wait.opened_at,
    )
    await trace_wait(engine, wait.promise_id, wait.opened_at, settlement)
    logger.info("run %s is over, its wait %s: %s", run_id, wait.promise_id, settlement.verdict)


def how_it_ended(run: JobRun) -> str:
    """Return a sentence that says how a run ended without calling back, and why if the run never began."""
    state = run.life_cycle_state if run.result_state is None else f"{run.life_cycle_state}, {run.result_state}"
    sentence = f"run {run.run_id} ended without calling back ({state})"

    if run.result_state in _LIMIT_REACHED:
        return f"{sentence}: it was skipped because the job's limit of concurrent runs was reached"

    return f"{sentence}: {run.message}" if run.life_cycle_state == "SKIPPED" and run.message else sentence
