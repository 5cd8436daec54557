"""An order in steps, each done once, one of them by the worker group that owns the database."""

from __future__ import annotations

import hashlib
import logging
import re
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.durable.compensation import compensating
from orchestrator.runs.definition import workflow
from orchestrator.workflows.shop.order_book import order_history
from orchestrator.workflows.shop.prices import total_cents

if TYPE_CHECKING:
    from orchestrator.durable.context import Context

logger = logging.getLogger(__name__)

#: Customers with at least this many earlier orders are served first.
_REGULAR: Final = 3

#: An item with its quantity, as a source's `input` can write it.
_SEVERAL: Final = re.compile(r"([0-9]{1,6}) x (\S.*)", re.ASCII | re.DOTALL)

type Text = Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S")]


class OrderRequest(BaseModel):
    """Who ordered what. An item that is ordered twice is in `items` twice, or once as `2 x item`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    order_id: Text
    items: Annotated[list[Text], Field(min_length=1, max_length=1000)]
    customer: Text


@workflow()
async def process_order(ctx: Context, request: OrderRequest) -> dict[str, Any]:
    """Validate an order, charge it, look the customer's history up, ship it. If that fails, the charge is refunded."""
    total = await ctx.run(validate, request)

    async with compensating(ctx) as undo:
        # A cancel waits until the charge is made or refused, because only then can it be refunded.
        payment = await ctx.shielded.run(charge, request, total)
        undo.add(refund, payment)
        earlier = await ctx.call(order_history, request.order_id, request.customer, total)
        shipment = await ctx.run(ship, request, first=earlier >= _REGULAR)

    return {
        "order_id": request.order_id,
        "status": "shipped",
        "total_cents": total,
        "payment": payment,
        "shipment": shipment,
        "earlier_orders": earlier,
    }


async def validate(_: Context, request: OrderRequest) -> int:
    """Return the total of the order, in cents."""
    counts: Counter[str] = Counter()

    for text in request.items:
        match = _SEVERAL.fullmatch(text)
        counts[match[2] if match else text] += int(match[1]) if match else 1

    return sum(total_cents(item, count) for item, count in counts.items())


async def charge(ctx: Context, _request: OrderRequest, _cents: int) -> str:
    """Charge the customer and return the payment's reference.

    This stands in for a payment provider. Like one, it takes an idempotency key, so a step that is repeated after a
    crash finds the existing payment.
    """
    payment = _reference("pay", ctx.info.origin_id)
    logger.info("%s: charged, payment %s", ctx.info.origin_id, payment)

    return payment


async def refund(ctx: Context, payment: str) -> None:
    """Give the payment back."""
    logger.info("%s: refunded, payment %s", ctx.info.origin_id, payment)


async def ship(ctx: Context, _request: OrderRequest, *, first: bool) -> str:
    """Have the order shipped, perhaps before others, and return the shipment's reference. Has a key like `charge`."""
    shipment = _reference("ship", ctx.info.origin_id)
    logger.info("%s: shipped%s, shipment %s", ctx.info.origin_id, " first" if first else "", shipment)

    return shipment


def _reference(kind: str, key: str) -> str:
    return f"{kind}_{hashlib.sha256(f'{kind}\0{key}'.encode()).hexdigest()[:16]}"
