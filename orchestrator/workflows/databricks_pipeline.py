"""A workflow that runs a Databricks job, waits for its signed callback, and ends if the job dies without one."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, field_validator

from orchestrator.callbacks.callback import Callback, open_callback
from orchestrator.databricks.run import job_subject
from orchestrator.databricks.run_steps import (
    CALLBACK_PARAMETER,
    Job,
    Later,
    Refused,
    Triggered,
    read_trigger,
    stop_run,
    trigger_job,
)
from orchestrator.durable.context import Context
from orchestrator.durable.persisting import FIRST_PAUSE, SLOWEST, pause, persist
from orchestrator.engine import Engine
from orchestrator.errors import (
    StoreTampered,
    WorkflowCancelled,
    WorkflowEnded,
    WorkflowExpired,
    WorkflowFailed,
)
from orchestrator.mail.end_notice import notify_end
from orchestrator.mail.mailer import EmailAddress  # noqa: TC001 - pydantic looks it up at run time
from orchestrator.runs.cancel_record import cancel_requested
from orchestrator.runs.definition import workflow

if TYPE_CHECKING:
    from orchestrator.callbacks.address import Address
    from orchestrator.callbacks.outcomes import Outcome

_LONGEST: Final = 365 * 86400

#: The longest pause before a further attempt, in seconds.
_LONGEST_PAUSE: Final = 600.0

#: How often an unavailable outside system is tried once nothing waits for its reply any more: for about an hour.
_TRIES: Final = 18

#: How often it is tried while the pipeline itself waits for it: for about two minutes.
_FEW_TRIES: Final = 6


class PipelineRequest(BaseModel):
    """What to run and how long to wait for it; times in seconds, `deadline` for each attempt."""

    model_config = ConfigDict(extra="forbid", strict=True)

    job_id: Annotated[int, Field(gt=0, lt=2**63)]
    parameters: dict[str, str] = Field(default_factory=dict)
    deadline: Annotated[float, Field(ge=1, le=_LONGEST)] = 86400
    watch_interval: Annotated[float, Field(ge=1, le=86400)] = 60
    attempts: Annotated[int, Field(ge=1, le=20)] = 1
    notify: EmailAddress | None = None

    @field_validator("parameters")
    @classmethod
    def _without_callback_parameter(cls, parameters: dict[str, str]) -> dict[str, str]:
        if CALLBACK_PARAMETER in parameters:
            raise ValueError(f"{CALLBACK_PARAMETER} is set by the pipeline itself")

        return parameters


@workflow()
async def databricks_pipeline(ctx: Context, request: PipelineRequest) -> dict[str, Any]:
    """Run a Databricks job and wait for its callback.

    There is one run per attempt, whatever crashes: its idempotency token is derived from the wait it answers. A further
    attempt is made after the job's own failure and after a job that died. It has its own callback and so its own token,
    and the pause before it grows. However the pipeline ends, `notify` gets a mail.
    """
    # Only a step that has ended says whether there is a run to stop. A cancel reaches the pipeline by its callback.
    ctx = ctx.shielded

    try:
        ended = await _attempted(ctx, request)
    except WorkflowEnded as end:
        outcome, run_id = end.error.get("outcome", end.state), end.error.get("run_id")
        await notify_end(ctx, request.notify, str(outcome), run_id, str(end.error["message"]))
        raise
    except Exception:
        # Its text may quote anything: the log and the workflow's error name its type and place.
        ended_as = "cancelled" if await ctx.run(cancel_requested) else "failed"
        await notify_end(ctx, request.notify, ended_as, None, "see the workflow's error")
        raise

    await notify_end(ctx, request.notify, "succeeded", ended["run_id"])

    return ended


async def _attempted(ctx: Context, request: PipelineRequest) -> dict[str, Any]:
    """Return the result of the pipeline, after as many attempts as it takes.

    Raises:
        WorkflowEnded: no attempt succeeded.
    """
    attempt = 0
    goes_on: str | None = None
    latest: int | None = None

    while True:
        attempt += 1
        seconds = pause_before(attempt)
        # Opened before the pause, so that a cancel finds something to withdraw at any moment.
        callback = await open_callback(
            ctx,
            f"run-{attempt}",
            deadline=timedelta(seconds=seconds + request.deadline),
            subject=job_subject(request.job_id),
        )
        # Once the trigger may have been tried, only trying it again tells whether there is a run to stop.
        wanted = await ctx.run(still_wanted, callback.address, seconds)

        if not isinstance(wanted, bool):
            wanted = await _wanted_after_pause(ctx, callback, wanted)

        run_id = await _triggered(ctx, request, callback) if wanted else None
        latest = latest if run_id is None else run_id

        try:
            outcome = await callback
        except StoreTampered:
            if run_id is not None:
                await persist(ctx, stop_run, run_id, tries=_TRIES)

            raise

        if outcome.succeeded:
            return {"run_id": run_id, "outcome": "succeeded", "result": outcome.value}

        if outcome.kind in {"expired", "cancelled"}:
            if run_id is not None:
                goes_on = await persist(ctx, stop_run, run_id, tries=_TRIES)

            break

        if attempt == request.attempts:
            break

    message = _message(outcome) if goes_on is None else f"{_message(outcome)}; the run may go on: {goes_on}"

    raise _ending(outcome, latest, message)


def pause_before(attempt: int) -> float:
    """Return the seconds to pause before an attempt: none before the first, then one, doubling, at most ten minutes."""
    return min(2.0 ** (attempt - 2), _LONGEST_PAUSE) if attempt > 1 else 0.0


async def _wanted_after_pause(ctx: Context, callback: Callback, seconds: float) -> bool:
    """Pause durably before a further attempt; return whether it is still wanted then. A cancel ends the pause."""
    nap = ctx.sleep(timedelta(seconds=seconds))
    await Context.first_over([callback.future, nap])
    wanted: bool = await ctx.run(end_pause, callback.address, await nap.id())

    with contextlib.suppress(WorkflowCancelled):  # cut short
        await nap

    return wanted


async def end_pause(ctx: Context, address: Address, pause_id: str) -> bool:
    """Return whether the job is still to be run; if it is not, end the pause that the workflow would wait for."""
    wanted = await _is_wanted(ctx, address)

    if not wanted:
        await ctx.get_dependency(Engine).promises.cancel(pause_id)

    return wanted


async def _triggered(ctx: Context, request: PipelineRequest, callback: Callback) -> int | None:
    """Return the run's id once Databricks has taken the job; None if it could not be asked before the wait was over.

    During an outage it sleeps durably and holds nothing.
    """
    job = Job(job_id=request.job_id, parameters=request.parameters, watch_interval=request.watch_interval)
    seconds = FIRST_PAUSE
    late = 0

    while late < _FEW_TRIES:
        match read_trigger(await ctx.run(trigger_job, job, callback.address)):
            case Triggered(run_id):
                return run_id
            case Refused(reason):
                raise WorkflowFailed(reason, outcome="failed", run_id=None)
            case Later(retry_after, over):
                late += over
                await pause(ctx, max(seconds, retry_after or 0))
                seconds = min(seconds * 2, SLOWEST)

    return None


async def still_wanted(ctx: Context, address: Address, seconds: float) -> bool | float:
    """Return whether the job is still to be run: False, True, or the seconds to pause before it.

    A pipeline that was cancelled before its trigger starts no run. An attempt that began under a version without pauses
    has True on record and goes on without one, because its later steps are numbered as that version numbered them.
    """
    return await _is_wanted(ctx, address) and (seconds or True)


async def _is_wanted(ctx: Context, address: Address) -> bool:
    return await address.settled(ctx) is None and not await cancel_requested(ctx)


def _message(outcome: Outcome) -> str:
    texts = {"expired": "the deadline passed without a callback", "cancelled": "the pipeline was cancelled"}

    return texts.get(outcome.kind) or outcome.message


def _ending(outcome: Outcome, run_id: int | None, message: str) -> WorkflowFailed | WorkflowExpired | WorkflowCancelled:
    fields: dict[str, Any] = {"outcome": outcome.kind, "run_id": run_id}

    if outcome.details is not None and outcome.kind in {"failed", "died"}:
        fields["details"] = outcome.details

    match outcome.kind:
        case "expired":
            return WorkflowExpired(message, **fields)
        case "cancelled":
            return WorkflowCancelled(message, **fields)
        case _:
            return WorkflowFailed(message, **fields)
