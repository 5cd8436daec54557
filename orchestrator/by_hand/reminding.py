"""Reminding the people of an open question by hand: everybody gets their link again, the same one.

A worker of the run's group sends the mails, because only workers need to be able to. What is asked for is recorded
first, and the record decides how often that may be; then a small durable task does it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from orchestrator.approvals.reminders import send_question
from orchestrator.by_hand.answering import MAX_REASON
from orchestrator.by_hand.finding import NotUsable, find_wait
from orchestrator.callbacks.address import Address
from orchestrator.callbacks.hand_reminders import RemindedAlready, is_last, record_reminder
from orchestrator.callbacks.question import Asked, Inquiry
from orchestrator.durable.opened_at import companion_id, opened_at, read_wait
from orchestrator.durable.scheduling import PERSISTENT, create_task
from orchestrator.engine import Engine
from orchestrator.errors import CountersignError, StepRefused, UnknownPromise
from orchestrator.stored_names import TRANSIENT_TAG

if TYPE_CHECKING:
    from resonate.context import Context as SDKContext
    from resonate.types import PromiseRecord

    from orchestrator.callbacks.hand_reminders import HandReminder
    from orchestrator.callbacks.outcomes import Settled

logger = logging.getLogger(__name__)

#: The function that the task of such a reminder names.
REMIND_NOW: Final = "countersign.remind-now"

_SLACK_MS: Final = 86_400_000


class WaitOver(CountersignError):
    """The wait is over, as `settled` says; its deadline is at `timeout_at`, in milliseconds since the epoch."""

    def __init__(self, settled: Settled, timeout_at: int) -> None:
        super().__init__("the wait is over")
        self.settled = settled
        self.timeout_at = timeout_at


async def remind_by_hand(  # noqa: PLR0913 - one action, all of it named
    engine: Engine, root_id: str, callback: str, *, by: str, reason: str = "", step: str | None = None
) -> HandReminder:
    """Request that the people of the open question with this name get their links again, and return the record.

    `by` is the name of the operator's API key. Does not check whether they may do this.

    Raises:
        UnknownPromise: there is no workflow with this root.
        UnknownCallback: it has opened no wait with this name.
        NotUsable: the wait asks nobody, or the reason is too long.
        WaitOver: the question is decided, or closed.
        RemindedAlready: they were reminded by hand less than a minute ago.
        EngineUnavailable: whether it is requested is unknown. Repeating the call is safe: it reminds at most once.
    """
    if len(reason) > MAX_REASON:
        raise NotUsable("reason", f"A reason has at most {MAX_REASON} characters.")

    promises = engine.promises
    root = await promises.get(root_id)
    found = await find_wait(promises, root_id, callback, step=step)
    wait = found.record

    if found.settled is not None:
        raise WaitOver(found.settled, wait.timeout_at)

    if Asked.read(wait) is None:
        raise NotUsable("callback", "This callback asks nobody by mail, so there is nobody to remind.")

    try:
        reminder = await record_reminder(promises, wait, by=by, reason=reason, now=engine.clock())
    except RemindedAlready as already:
        if already.last is not None:
            # The process that recorded it may have ended before it created the task.
            await _create_task(engine, root, wait, callback, already.last)

        raise

    await _create_task(engine, root, wait, callback, reminder)

    return reminder


async def _create_task(
    engine: Engine, root: PromiseRecord, wait: PromiseRecord, callback: str, reminder: HandReminder
) -> None:
    await create_task(
        engine,
        companion_id(wait, f"remind-now{reminder.number}"),
        function=REMIND_NOW,
        argument={
            "wait": wait.id,
            "opened_at": opened_at(wait),
            "callback": callback,
            "number": reminder.number,
        },
        target=root.tags["resonate:target"],
        timeout_at=wait.timeout_at + _SLACK_MS,
        tags={TRANSIENT_TAG: "true"},
    )


async def remind_now(ctx: SDKContext, task: dict[str, Any]) -> str:
    """Mail everybody whom the wait asks their link again, each in a step of its own. Returns what was done."""
    promises = ctx.get_dependency(Engine).promises

    try:
        wait = await read_wait(promises, task["wait"], task["opened_at"])
    except UnknownPromise:
        return "the wait is gone"

    inquiry = Inquiry.read(wait)

    if inquiry is None:
        return "the wait asks nobody"

    seen = "nobody"

    for person in inquiry.people:
        address = Address(
            promise_id=wait.id,
            callback=task["callback"],
            audience="approver",
            subject=person,
            outcomes=tuple(inquiry.question.decisions),
            opened_at=task["opened_at"],
        )
        seen = await ctx.options(retry_policy=PERSISTENT).run(_remind_person, address, task["number"])

    return seen


async def _remind_person(ctx: SDKContext, address: Address, number: int) -> str:
    """Mail one person, as a step, unless the wait is over or a later reminder was asked for meanwhile."""
    promises = ctx.get_dependency(Engine).promises

    try:
        if not await is_last(promises, await address.record(ctx), number):
            return "left to a later reminder"

        # Negative numbers are no scheduled reminder's, so a mailbox does not take one for the other.
        sent = await send_question(ctx, address, number=-number)
    except UnknownPromise:
        return "the wait is gone"
    except StepRefused as error:
        logger.warning("%s: a reminder was refused: %s", address.promise_id, error)

        return "refused"

    return "reminded" if sent else "the wait is over"
