"""Hints that a Databricks run may be over: the run is polled now, and not only at the watcher's next poll.

A hint only names a run. The Jobs API says whether that run is over. The callback token among the run's own parameters
says which wait it answers for, and must be one that we minted for a run of that very job; a run without a token was
noted by the step that triggered it. So a forged hint costs a few polls at most, and settles nothing that the watcher
would not settle too.
"""

from __future__ import annotations

import logging
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from orchestrator.callbacks.address import Links
from orchestrator.callbacks.claims import TokenError
from orchestrator.databricks.jobs import Databricks
from orchestrator.databricks.run import RunGone, job_subject
from orchestrator.databricks.run_index import find_wait
from orchestrator.databricks.watcher import settle_ended
from orchestrator.durable.opened_at import read_wait
from orchestrator.durable.scheduling import create_task
from orchestrator.engine import Engine
from orchestrator.errors import StepRefused, StepUnavailable, UnknownPromise
from orchestrator.stored_names import TRANSIENT_TAG

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from resonate.context import Context as SDKContext

    from orchestrator.callbacks.claims import Claims
    from orchestrator.callbacks.tokens import TokenSigner
    from orchestrator.databricks.run import JobRun
    from orchestrator.databricks.run_index import IndexedWait

logger = logging.getLogger(__name__)

HINT: Final = "countersign.hint"

#: Seconds between polls of a run that is not over yet: a notification may arrive before the Jobs API shows the end.
#: After the last one, only the watcher polls the run.
PAUSES: Final = (1, 2, 4, 8, 15, 30)

_NOT_OVER: Final = "not over, as far as can be seen"

_KEPT: Final = timedelta(hours=1)


async def request_poll(
    engine: Engine,
    run_id: int,
    *,
    group: str,
    clock: Callable[[], float] | None = None,
    new_nonce: Callable[[], str] = lambda: secrets.token_hex(16),
) -> None:
    """Request durably that a worker of the group polls this run now.

    Raises:
        EngineUnavailable: whether the request is recorded is unknown; retrying is safe.
    """
    await create_task(
        engine,
        f"countersign~run{run_id}.{new_nonce()}",
        function=HINT,
        argument={"run_id": run_id},
        target=engine.address_of(group),
        timeout_at=int(((clock or engine.clock)() + _KEPT.total_seconds()) * 1000),
        tags={TRANSIENT_TAG: "true"},
    )


async def follow_hint(ctx: SDKContext, hint: dict[str, Any]) -> str:
    """Poll a run until it is over, a few times at most. Returns what was seen last."""
    seen = await ctx.run(poll_run, hint["run_id"])

    for pause in PAUSES:
        if seen != _NOT_OVER:
            break

        await ctx.sleep(timedelta(seconds=pause))
        seen = await ctx.run(poll_run, hint["run_id"])

    return seen


async def poll_run(ctx: SDKContext, run_id: int) -> str:
    """Poll a run once, as a step: if it is over, settle the wait it answers for. Returns what was seen."""
    try:
        run = await ctx.get_dependency(Databricks).read(run_id)
    except RunGone:
        # Without the run there is no token. The watcher knows for which wait its end is an answer.
        return "gone"
    except StepRefused as error:
        logger.info("run %s is left to the watcher: %s", run_id, error)
        return "refused"
    except StepUnavailable as error:
        logger.info("run %s could not be polled: %s", run_id, error)
        return _NOT_OVER

    if not run.over:
        return _NOT_OVER

    try:
        found = [await _settle_if_held(ctx, each, run) for each in await _waits_of(ctx, run)]
    except StepUnavailable as error:
        logger.info("the output of run %s could not be read: %s", run_id, error)

        return _NOT_OVER

    return "over" if any(found) else "over, no wait of ours"


async def _waits_of(ctx: SDKContext, run: JobRun) -> list[Claims | IndexedWait]:
    """Return the waits that this run answers for, as far as its parameters and what we have noted say so."""
    noted = await find_wait(ctx.get_dependency(Engine).promises, run.run_id)
    waits: list[Claims | IndexedWait] = [] if noted is None else [noted]

    return [*waits, *_claims_in(run, ctx.get_dependency(Links).signer)]


async def _settle_if_held(ctx: SDKContext, found: Claims | IndexedWait, run: JobRun) -> bool:
    """Settle this wait with the end of the run; return whether the engine still holds it."""
    try:
        wait = await read_wait(ctx.get_dependency(Engine).promises, found.promise_id, found.opened_at)
    except UnknownPromise:
        return False

    await settle_ended(ctx, found.callback, wait, run)

    return True


def _claims_in(run: JobRun, signer: TokenSigner) -> Iterator[Claims]:
    """Yield the claims of the genuine tokens among the run's parameters that were minted for this job.

    A token says which job it was minted for. If a stolen one is among the parameters of another job's run, the end of
    that run says nothing about the wait.
    """
    for value in run.parameters.values():
        try:
            claims = signer.verify(value.rpartition("/")[2], audience="machine")
        except TokenError:
            continue

        if ":" in claims.promise_id and claims.subject == job_subject(run.job_id):
            yield claims
