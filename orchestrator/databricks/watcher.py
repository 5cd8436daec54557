"""The watcher: it asks the Jobs API about a run that has not answered, so that no workflow waits for a dead job.

Each poll is a small durable task of its own that schedules the next one. A poll settles only the wait of a run that is
over, and a real callback that arrives first wins. Where the end of the run is an answer too, the polls go on until it
is known, also if the callback came first.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from orchestrator.callbacks.later_answers import keep_if_later
from orchestrator.callbacks.outcomes import CLOSED, Outcome, body_of, read_settled
from orchestrator.callbacks.settlement import resolve
from orchestrator.callbacks.terms import Terms
from orchestrator.callbacks.wait_traces import trace_wait
from orchestrator.databricks.job_wait import JobWait
from orchestrator.databricks.jobs import Databricks
from orchestrator.databricks.run import RunGone
from orchestrator.databricks.run_ends import RunEnd, read_run_end
from orchestrator.durable.opened_at import opened_at, read_wait
from orchestrator.durable.scheduling import schedule, when_due
from orchestrator.engine import Engine
from orchestrator.errors import StepRefused, StepUnavailable, UnknownPromise

if TYPE_CHECKING:
    from resonate.context import Context as SDKContext
    from resonate.types import PromiseRecord

    from orchestrator.databricks.run import JobRun

logger = logging.getLogger(__name__)

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
    engine = ctx.get_dependency(Engine)

    try:
        wait = await _wait_of(ctx, watch)
    except UnknownPromise:
        return "the wait is gone"

    if not _is_of_interest(wait, watch, now=engine.clock()):
        return "the wait is over"

    try:
        run = await ctx.get_dependency(Databricks).read(watch.run_id)
        seen = run.life_cycle_state

        if run.over:
            await settle_ended(ctx, watch.callback, wait, run)

            return f"over: {seen}"

    except StepUnavailable as error:
        logger.warning("run %s could not be polled: %s", watch.run_id, error)
        seen = "unavailable"
    except RunGone as error:
        await _settle(ctx, watch.callback, wait, watch.run_id, RunEnd(kind="died", body=body_of(_gone(error, wait))))

        return "gone"
    except StepRefused as error:
        logger.warning("polling run %s was refused: %s", watch.run_id, error)
        seen = "refused"

    await schedule_poll(ctx, replace(watch, looks=watch.looks + 1))

    return seen


async def _wait_of(ctx: SDKContext, watch: Watch) -> PromiseRecord:
    return await read_wait(ctx.get_dependency(Engine).promises, watch.promise_id, watch.opened_at)


def _is_of_interest(wait: PromiseRecord, watch: Watch, *, now: float) -> bool:
    """Return whether the end of the run still says something: to the workflow, or beside an answer that came first."""
    settled = read_settled(wait, callback=watch.callback)

    if settled is None:
        return True

    answered = settled.outcome.kind not in CLOSED and settled.outcome.by != "watcher"

    return answered and Terms.read(wait).keeps_later and now * 1000 < wait.timeout_at


async def settle_ended(ctx: SDKContext, callback: str, wait: PromiseRecord, run: JobRun) -> None:
    """Settle the wait of a run that is over with what its end answers, unless another answer was first; in a step.

    The caller has checked that this is the wait that the run answers for.

    Raises:
        StepUnavailable: an output could not be read now.
        EngineUnavailable: raised in a step, it makes the SDK try the step again.
    """
    end = await read_run_end(ctx.get_dependency(Databricks), run, JobWait.read(wait))
    await _settle(ctx, callback, wait, run.run_id, end)


async def _settle(ctx: SDKContext, callback: str, wait: PromiseRecord, run_id: int, end: RunEnd) -> None:
    outcome = Outcome(kind=end.kind, callback=callback, by="watcher", body=end.body, note=end.note)
    engine, opened, ikey = ctx.get_dependency(Engine), opened_at(wait), f"watcher:{run_id}"
    settlement = await resolve(engine.promises, wait.id, ikey=ikey, outcome=outcome, opened=opened)
    await keep_if_later(engine.promises, wait, outcome, ikey, settlement)
    await trace_wait(engine, wait.id, opened, settlement)
    logger.info("run %s is over, its wait %s: %s", run_id, wait.id, settlement.verdict)


def _gone(error: RunGone, wait: PromiseRecord) -> str:
    return f"{error}, and it did not call back" if JobWait.read(wait).answer == "callback" else str(error)
