"""A workflow that waits for a person's decision: it asks by mail, reminds, and ships nothing without approval."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.approvals.ask_people import ask_people
from orchestrator.callbacks.question import Question
from orchestrator.errors import WorkflowCancelled
from orchestrator.mail.mailer import EmailAddress  # noqa: TC001 - pydantic looks it up at run time
from orchestrator.runs.definition import workflow

if TYPE_CHECKING:
    from orchestrator.durable.context import Context

logger = logging.getLogger(__name__)

_LONGEST: Final = 365 * 86400
_STATUS: Final = {"approve": "shipped", "reject": "rejected", "expired": "expired"}


class ShipRequest(BaseModel):
    """What to ship and who decides; times in seconds."""

    model_config = ConfigDict(extra="forbid", strict=True)

    order_id: Annotated[str, Field(min_length=1, max_length=200)]
    approver: EmailAddress
    summary: str
    deadline: Annotated[float, Field(ge=1, le=_LONGEST)] = 7 * 86400
    remind_after: Annotated[float, Field(ge=0.5, le=_LONGEST)] | None = None


@workflow()
async def approve_and_ship(ctx: Context, request: ShipRequest) -> dict[str, Any]:
    """Ask a person by mail whether to ship an order, and do what they decide."""
    asked = await ask_people(
        ctx,
        "approval",
        Question(title=f"Ship order {request.order_id}?", text=request.summary, facts=(("Order", request.order_id),)),
        [request.approver],
        deadline=timedelta(seconds=request.deadline),
        remind_after=None if request.remind_after is None else timedelta(seconds=request.remind_after),
    )

    if asked.decision == "cancelled":
        raise WorkflowCancelled(f"order {request.order_id} was neither approved nor rejected")

    if asked.decision == "approve":
        await ctx.run(ship, request.order_id)

    answer = asked.answers[0] if asked.answers else None

    return {
        "status": _STATUS[asked.decision],
        "decided_by": answer.person if answer else None,
        "comment": answer.comment if answer else None,
    }


async def ship(_: Context, order_id: str) -> None:
    """Ship the order. Yours goes here, with the order as its idempotency key: a crash may repeat this step."""
    logger.info("order %s is on its way", order_id)
