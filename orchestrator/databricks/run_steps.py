"""The steps that start and stop the run of a job that a workflow waits for."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.databricks.jobs import Databricks
from orchestrator.databricks.order import CALLBACK_PARAMETER
from orchestrator.databricks.run import JobRefused, idempotency_token
from orchestrator.databricks.run_index import index_run
from orchestrator.databricks.watcher import Watch, schedule_poll, settle_ended
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
    """What to run, the seconds between two polls of the watcher, and whether the run gets the callback's link."""

    job_id: int
    parameters: Mapping[str, str]
    watch_interval: float
    linked: bool


@dataclass(frozen=True)
class Triggered:
    """Databricks has accepted the job; its run may have ended by now. An earlier release did not record the job.

    `page_url` is where Databricks shows the run, None if it has not said so.
    """

    run_id: int
    job_id: int | None = None
    page_url: str | None = None

    def stored(self) -> dict[str, Any]:
        """Return the form that is stored in the step's record, from which the page of the workflow's run links it."""
        known = {"job_id": self.job_id, "page": self.page_url}

        return {"run_id": self.run_id} | {name: value for name, value in known.items() if value is not None}


@dataclass(frozen=True)
class Refused:
    """Databricks will never accept the job. `page_url` is where to look at the job, None if it is not known."""

    reason: str
    page_url: str | None = None

    def stored(self) -> dict[str, Any]:
        """Return the form that is stored in the step's record."""
        return {"refused": self.reason} | ({} if self.page_url is None else {"page": self.page_url})


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
            return Triggered(int(run_id), int(job_id), stored.get("page"))
        case {"run_id": run_id}:
            return Triggered(int(run_id))
        case {"refused": reason}:
            return Refused(reason, stored.get("page"))
        case _:
            return Later(stored["retry_after"], stored["over"])


async def trigger_job(ctx: Context, job: Job, address: Address) -> dict[str, Any]:
    """Trigger the job, with the callback's link if it has one, and watch its run; return what `read_trigger` reads.

    It triggers even if the wait is over already: a trigger before a crash may have started the run, and only the run's
    id lets us stop it.
    """
    link = {CALLBACK_PARAMETER: await address.url(ctx)} if job.linked else {}

    try:
        run_id = await ctx.get_dependency(Databricks).trigger(
            job.job_id,
            idempotency_token=idempotency_token(address.promise_id, address.opened_at),
            parameters={**job.parameters, **link},
        )
    except StepRefused as error:
        logger.warning("%s: job %s was refused: %s", address.promise_id, job.job_id, error)

        return Refused(str(error), error.page_url if isinstance(error, JobRefused) else None).stored()
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

    if not job.linked:
        await index_run(ctx, run_id, address)

    await schedule_poll(ctx, watch)
    page_url = await _look_at(ctx, run_id, address)

    return Triggered(run_id, job.job_id, page_url).stored()


async def _look_at(ctx: Context, run_id: int, address: Address) -> str | None:
    """Settle the wait at once if the token's run ended long ago; return the run's page, None if it is not known.

    The reply to the trigger says neither.
    """
    page_url = None

    try:
        run = await ctx.get_dependency(Databricks).read(run_id)
        page_url = run.page_url

        if run.over:
            await settle_ended(ctx, address.callback, await address.record(ctx), run)

    except (StepRefused, StepUnavailable) as error:
        logger.info("run %s is left to the watcher: %s", run_id, error)

    return page_url


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
