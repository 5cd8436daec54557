"""The steps that start and stop the run of a job that a workflow waits for."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.databricks.jobs import Databricks
from orchestrator.databricks.order import CALLBACK_PARAMETER
from orchestrator.databricks.run import idempotency_token
from orchestrator.databricks.watcher import Watch, schedule_poll, settle_dead
from orchestrator.durable.persisting import DONE
from orchestrator.errors import StepRefused, StepUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.callbacks.address import Address
    from orchestrator.durable.context import Context
    from orchestrator.durable.persisting import Tried

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to run, and the seconds between two polls of the watcher."""

    job_id: int
    parameters: Mapping[str, str]
    watch_interval: float


@dataclass(frozen=True)
class Triggered:
    """Databricks has accepted the job; its run may have ended by now. An earlier release did not record the job."""

    run_id: int
    job_id: int | None = None

    def stored(self) -> dict[str, Any]:
        """Return the form that is stored in the step's record, from which the page of the workflow's run links it."""
        return {"run_id": self.run_id} if self.job_id is None else {"run_id": self.run_id, "job_id": self.job_id}


@dataclass(frozen=True)
class Refused:
    """Databricks will never accept the job."""

    reason: str

    def stored(self) -> dict[str, Any]:
        """Return the form that is stored in the step's record."""
        return {"refused": self.reason}


@dataclass(frozen=True)
class Later:
    """Databricks may accept the job later; `retry_after` is the number of seconds it asked for, or None.

    `over` says whether the wait that the run would answer was over by then.
    """

    retry_after: float | None
    over: bool

    def stored(self) -> dict[str, Any]:
        """Return the form that is stored in the step's record."""
        return {"retry_after": self.retry_after, "over": self.over}


def read_trigger(stored: Mapping[str, Any]) -> Triggered | Refused | Later:
    """Return what became of a trigger, from the record of its step.

    Raises:
        LookupError: the record is not one that `trigger_job` left.
    """
    match stored:
        case {"run_id": run_id, "job_id": job_id}:
            return Triggered(int(run_id), int(job_id))
        case {"run_id": run_id}:
            return Triggered(int(run_id))
        case {"refused": reason}:
            return Refused(reason)
        case _:
            return Later(stored["retry_after"], stored["over"])


async def trigger_job(ctx: Context, job: Job, address: Address) -> dict[str, Any]:
    """Trigger the job with the callback's link and start watching its run; return what `read_trigger` reads.

    It triggers even if the wait is over already: a trigger before a crash may have started the run, and only the run's
    id lets us stop it.
    """
    parameters = {**job.parameters, CALLBACK_PARAMETER: await address.url(ctx)}

    try:
        run_id = await ctx.get_dependency(Databricks).trigger(
            job.job_id,
            idempotency_token=idempotency_token(address.promise_id, address.opened_at),
            parameters=parameters,
        )
    except StepRefused as error:
        return Refused(str(error)).stored()
    except StepUnavailable as error:
        logger.warning("%s: job %s is not triggered yet: %s", address.promise_id, job.job_id, error)

        return Later(error.retry_after, over=await address.settled(ctx) is not None).stored()

    watch = Watch(
        promise_id=address.promise_id,
        callback=address.callback,
        run_id=run_id,
        interval=job.watch_interval,
        opened_at=address.opened_at,
    )
    await schedule_poll(ctx, watch)
    await _settle_if_over(ctx, watch)

    return Triggered(run_id, job.job_id).stored()


async def _settle_if_over(ctx: Context, watch: Watch) -> None:
    """Settle the wait at once if the token's run ended long ago. The reply to the trigger does not say so."""
    try:
        run = await ctx.get_dependency(Databricks).read(watch.run_id)
    except (StepRefused, StepUnavailable) as error:
        logger.info("run %s is left to the watcher: %s", watch.run_id, error)
        return

    if run.over:
        await settle_dead(ctx, watch, run)


async def stop_run(ctx: Context, run_id: int) -> Tried:
    """Cancel the run."""
    try:
        await ctx.get_dependency(Databricks).cancel(run_id)
    except StepRefused as error:
        logger.warning("run %s may not be cancelled: %s", run_id, error)

        return {"again": False, "why": str(error)}
    except StepUnavailable as error:
        logger.warning("run %s is not cancelled yet: %s", run_id, error)

        return {"again": True, "why": str(error)}

    return DONE
