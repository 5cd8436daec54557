"""A workflow that ends within its request: start it with `Prefer: wait` and the response holds the result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.runs.definition import workflow
from orchestrator.workflows.shop.prices import total_cents, unit_cents

if TYPE_CHECKING:
    from orchestrator.durable.context import Context


class QuoteRequest(BaseModel):
    """What is to be priced."""

    model_config = ConfigDict(extra="forbid", strict=True)

    sku: Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S")]
    quantity: Annotated[int, Field(ge=1, le=1_000_000)]


@workflow()
async def price_quote(ctx: Context, request: QuoteRequest) -> dict[str, Any]:
    """Quote a price. The same id keeps the same quote."""
    offer: dict[str, Any] = await ctx.run(quote, request)

    return offer


async def quote(_: Context, request: QuoteRequest) -> dict[str, Any]:
    """Look the price up, as a step, so that a replay returns the same quote, whatever the price is by then."""
    return {
        "sku": request.sku,
        "quantity": request.quantity,
        "unit_cents": unit_cents(request.sku),
        "total_cents": total_cents(request.sku, request.quantity),
    }
