"""Asking a person by mail, and reminding them with the same link until the wait is over.

The question is read from the record of the wait, so a mail says what the page will show, even if a deploy has changed
the workflow in between.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from orchestrator.approvals.codes import ApprovalCodes
from orchestrator.approvals.letter import Letter
from orchestrator.approvals.reminded import note_reminder
from orchestrator.callbacks.address import Address
from orchestrator.callbacks.question import Inquiry
from orchestrator.durable.persisting import DONE
from orchestrator.durable.scheduling import schedule, when_due
from orchestrator.engine import Engine
from orchestrator.errors import StepRefused, StepUnavailable, UnknownPromise
from orchestrator.mail.mailer import Mailer
from orchestrator.runs.root_ids import name_of_root

if TYPE_CHECKING:
    from resonate.context import Context as SDKContext

    from orchestrator.durable.persisting import Tried

logger = logging.getLogger(__name__)

REMIND: Final = "countersign.remind"


@dataclass(frozen=True, kw_only=True)
class Reminder:
    """A reminder for one person: where they answer, their place among those asked, the interval in seconds, its number.

    It is stored in the engine until it is due, so a later release must read what an earlier one has stored.
    """

    address: Address
    place: int
    every: float
    number: int = 1


async def mail_question(ctx: SDKContext, address: Address, reminder: Reminder | None) -> Tried:
    """Mail a person the question and schedule the first reminder, as a step. If the wait is over, nothing is sent."""
    try:
        sent = await send_question(ctx, address)
    except StepRefused as error:
        return {"again": False, "why": str(error)}
    except StepUnavailable as error:
        logger.warning("%s: the question is not mailed yet: %s", address.promise_id, error)

        return {"again": True, "why": str(error)}

    if sent and reminder is not None:
        await _schedule(ctx, reminder)

    return DONE


async def remind(ctx: SDKContext, task: dict[str, Any]) -> str:
    """Remind a person once, unless their wait is over, and schedule the next time. Returns what was done."""
    fields = task["reminder"]
    address = Address(**(fields["address"] | {"outcomes": tuple(fields["address"]["outcomes"])}))

    return await when_due(ctx, task, _remind_once, Reminder(**(fields | {"address": address})))


async def _remind_once(ctx: SDKContext, reminder: Reminder) -> str:
    try:
        sent = await send_question(ctx, reminder.address, number=reminder.number)
    except UnknownPromise:
        return "the wait is gone"
    except StepRefused as error:
        logger.warning("%s: a reminder was refused: %s", reminder.address.promise_id, error)

        return "refused"

    if not sent:
        return "the wait is over"

    await note_reminder(ctx.get_dependency(Engine).promises, await reminder.address.record(ctx), reminder.number)
    await _schedule(ctx, replace(reminder, number=reminder.number + 1))

    return "reminded"


async def send_question(ctx: SDKContext, address: Address, *, number: int = 0) -> bool:
    """Mail the question and return True, or return False and send nothing if the wait is over.

    `number` tells a reminder from the first mail and from other reminders.

    Raises:
        StepRefused, StepUnavailable: as the mailer.
        EngineUnavailable, UnknownPromise: as for `Address.record`.
    """
    record = await address.record(ctx)
    inquiry = Inquiry.read(record)

    if record.state != "pending" or inquiry is None:
        return False

    codes = ctx.get_dependency(ApprovalCodes)
    mailer = ctx.get_dependency(Mailer)
    letter = Letter(
        to=address.subject,
        question=inquiry.question,
        link=await address.url(ctx),
        until=record.timeout_at,
        code=codes.code(record, address.subject) if inquiry.question.code else None,
        name=mailer.name,
        workflow=name_of_root(record.id).workflow,
        reminder=number,
    )
    await mailer.send(letter.message(), message_id=letter.message_id)

    return True


async def _schedule(ctx: SDKContext, reminder: Reminder) -> None:
    await schedule(
        ctx,
        await reminder.address.record(ctx),
        f"remind{reminder.place}.{reminder.number}",
        function=REMIND,
        argument={"reminder": asdict(reminder)},
        seconds=reminder.every,
    )
