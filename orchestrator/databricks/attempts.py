"""The attempts at a job, in the code of a workflow: one run each, until one succeeds or no further one is to be made.

There is one run per attempt, whatever crashes: its idempotency token is derived from the wait it answers. The steps
here and their order are on record in every workflow that is open, so changing them needs care.
"""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from orchestrator.callbacks.answerers import Answerers
from orchestrator.callbacks.callback import Callback, open_wait
from orchestrator.callbacks.choices import USUAL
from orchestrator.databricks.job_wait import JobWait
from orchestrator.databricks.run import job_subject
from orchestrator.databricks.run_steps import Job, Later, Refused, Triggered, read_trigger, stop_run, trigger_job
from orchestrator.durable.first_over import first_over
from orchestrator.durable.persisting import FIRST_PAUSE, SLOWEST, pause, persist
from orchestrator.engine import Engine
from orchestrator.errors import StoreTampered, WorkflowCancelled
from orchestrator.runs.cancel_record import cancel_requested

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.callbacks.address import Address
    from orchestrator.callbacks.outcomes import Outcome
    from orchestrator.databricks.order import Answer, JobOrder
    from orchestrator.durable.context import Context

#: The longest pause before a further attempt, in seconds.
_LONGEST_PAUSE: Final = 600.0

#: How often an unavailable outside system is tried once nothing waits for its reply any more: for about an hour.
_TRIES: Final = 18

#: How often it is tried while the workflow itself waits for it: for about two minutes.
_FEW_TRIES: Final = 6

_EXPIRED: Final[Mapping[Answer, str]] = {
    "callback": "the deadline passed without a callback",
    "run": "the deadline passed before the run ended",
    "either": "the deadline passed without an answer",
}


class Attempts:
    """The attempts at one job. `name` distinguishes it from the workflow's other jobs, and is part of each callback."""

    def __init__(self, ctx: Context, name: str, order: JobOrder, *, output_of: str | None = None) -> None:
        # Only a step that has ended says whether there is a run to stop. A cancel reaches this code by its callback.
        self._ctx = ctx.shielded
        self._name = name
        self._order = order
        self._wait = JobWait(answer=order.answer, output_of=output_of)
        #: The wait of the latest attempt, as soon as it is open.
        self.callback: Callback | None = None

    async def ended(self) -> dict[str, Any]:
        """Return how the job ended, after as many attempts as it takes, as plain data that `read_end` reads.

        Raises:
            StoreTampered: a wait does not hold what was written there; its run is stopped.
        """
        attempt = 0
        goes_on: str | None = None
        latest: int | None = None

        while True:
            attempt += 1
            seconds = pause_before(attempt)
            callback = await self._opened(attempt, seconds)
            # Once the trigger may have been tried, only trying it again tells whether there is a run to stop.
            wanted = await self._ctx.run(still_wanted, callback.address, seconds)

            if not isinstance(wanted, bool):
                wanted = await self._wanted_after_pause(callback, wanted)

            triggered = await self._triggered(callback) if wanted else None

            if isinstance(triggered, Refused):
                return _refused(triggered, attempt)

            run_id = None if triggered is None else triggered.run_id
            latest = latest if run_id is None else run_id

            try:
                outcome = await callback
            except StoreTampered:
                if run_id is not None:
                    await persist(self._ctx, stop_run, run_id, tries=_TRIES)

                raise

            if outcome.succeeded:
                break

            if outcome.kind in {"expired", "cancelled"}:
                if run_id is not None:
                    goes_on = await persist(self._ctx, stop_run, run_id, tries=_TRIES)

                break

            if attempt == self._order.attempts:
                break

        return _end(outcome, latest, attempt, goes_on, self._order.answer)

    async def _opened(self, attempt: int, seconds: float) -> Callback:
        answerers = Answerers(audience="machine", subject=job_subject(self._order.job_id))

        def held(promise_id: str) -> object:
            return answerers.stored(promise_id) | self._wait.stored(promise_id)

        # Opened before the pause, so that a cancel finds something to withdraw at any moment.
        self.callback = await open_wait(
            self._ctx,
            f"{self._name}-{attempt}",
            timedelta(seconds=seconds + self._order.deadline),
            answerers=answerers,
            outcomes=USUAL,
            holding=None if self._wait.answer == "callback" else held,
        )

        return self.callback

    async def _wanted_after_pause(self, callback: Callback, seconds: float) -> bool:
        """Pause durably before a further attempt; return whether it is still wanted then. A cancel ends the pause."""
        nap = self._ctx.sleep(timedelta(seconds=seconds))
        await first_over([callback.future, nap])
        wanted: bool = await self._ctx.run(end_pause, callback.address, await nap.id())

        with contextlib.suppress(WorkflowCancelled):  # cut short
            await nap

        return wanted

    async def _triggered(self, callback: Callback) -> Triggered | Refused | None:
        """Return what Databricks made of the job; None if it could not be asked before the wait was over.

        During an outage it sleeps durably and holds nothing.
        """
        order = self._order
        job = Job(
            job_id=order.job_id,
            parameters=order.parameters,
            watch_interval=order.watch_interval,
            linked=order.answer != "run",
        )
        seconds = FIRST_PAUSE
        late = 0

        while late < _FEW_TRIES:
            triggered = read_trigger(await self._ctx.run(trigger_job, job, callback.address))

            if not isinstance(triggered, Later):
                return triggered

            late += triggered.over
            await pause(self._ctx, max(seconds, triggered.retry_after or 0))
            seconds = min(seconds * 2, SLOWEST)

        return None


def pause_before(attempt: int) -> float:
    """Return the seconds to pause before an attempt: none before the first, then one, doubling, at most ten minutes."""
    return min(2.0 ** (attempt - 2), _LONGEST_PAUSE) if attempt > 1 else 0.0


async def end_pause(ctx: Context, address: Address, pause_id: str) -> bool:
    """Return whether the job is still to be run; if it is not, end the pause that the workflow would wait for."""
    wanted = await _is_wanted(ctx, address)

    if not wanted:
        await ctx.get_dependency(Engine).promises.cancel(pause_id)

    return wanted


async def still_wanted(ctx: Context, address: Address, seconds: float) -> bool | float:
    """Return whether the job is still to be run: False, True, or the seconds to pause before it.

    A workflow that was cancelled before its trigger starts no run. An attempt that began under a version without pauses
    has True on record and goes on without one, because its later steps are numbered as that version numbered them.
    """
    return await _is_wanted(ctx, address) and (seconds or True)


async def _is_wanted(ctx: Context, address: Address) -> bool:
    return await address.settled(ctx) is None and not await cancel_requested(ctx)


def _refused(refused: Refused, attempt: int) -> dict[str, Any]:
    end = {"outcome": "failed", "message": refused.reason, "run_id": None, "attempt": attempt}

    return end if refused.page_url is None else end | {"details": {"job_page_url": refused.page_url}}


def _end(outcome: Outcome, run_id: int | None, attempt: int, goes_on: str | None, answer: Answer) -> dict[str, Any]:
    end: dict[str, Any] = {"outcome": outcome.kind, "run_id": run_id, "attempt": attempt, "by": outcome.by}

    if outcome.succeeded:
        return end | {"result": outcome.value, "note": outcome.note}

    if outcome.details is not None and outcome.kind in {"failed", "died"}:
        end["details"] = outcome.details

    texts = {"expired": _EXPIRED[answer], "cancelled": "the workflow was cancelled"}
    message = texts.get(outcome.kind) or outcome.message

    return end | {"message": message if goes_on is None else f"{message}; the run may go on: {goes_on}"}
