"""Settling a wait with an idempotency key, on an engine that lets the first writer win and does not say who that was.

The engine replies to every settlement with the settled record, whoever wrote it. So the key, the outcome and a random
delivery id are part of what is written, and the reply is compared with them. Our delivery id means that this very
request settled the wait. Our key with our outcome means that an earlier delivery of the same answer settled it.

This file never rejects a promise: a rejected promise holds one of our failures, and nothing from outside may pass for
one.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Literal

import msgspec

from orchestrator.callbacks.outcomes import CLOSED, Outcome, Settled, envelope, read_settled
from orchestrator.errors import EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.engine.promises import Promises

type Verdict = Literal["applied", "duplicate", "ikey_reused", "other", "closed"]


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one delivery.

    `applied`: it settled the wait. `duplicate`: the same key with the same outcome did so earlier. `ikey_reused`: the
    same key settled the wait with another outcome. `other`: somebody else settled it. `closed`: the deadline or a
    cancel did.
    """

    verdict: Verdict
    settled: Settled


async def resolve(  # noqa: PLR0913 - one settlement, all of it named
    promises: Promises,
    promise_id: str,
    *,
    ikey: str,
    outcome: Outcome,
    opened: int | None = None,
    new_delivery: Callable[[], str] = lambda: secrets.token_hex(16),
) -> Settlement:
    """Settle the wait with this outcome unless it is over already, and return which of the two happened.

    Does not check any permission: the caller has verified a token. `opened` is when the wait was opened, as the caller
    has read it. If the engine now holds a later wait with the same id, this does not answer that one.

    Raises:
        UnknownPromise: the engine holds no such promise.
        EngineUnavailable: no reply in time. Whether the wait is settled is then unknown; repeating the call is safe.
    """
    delivery = new_delivery()
    value = envelope(promise_id, outcome, ikey=ikey, delivery=delivery, opened=opened)
    record = await promises.resolve(promise_id, value)
    settled = read_settled(record, callback=outcome.callback)

    if settled is None:
        raise EngineUnavailable("the engine accepted a settlement but left the promise pending")

    return Settlement(
        verdict="applied" if settled.delivery == delivery else verdict_on(settled, ikey, outcome), settled=settled
    )


def verdict_on(settled: Settled, ikey: str, outcome: Outcome) -> Verdict:
    """Return the verdict on a delivery of this outcome under this key, given how the wait was settled before."""
    if settled.outcome.kind in CLOSED:
        return "closed"

    if settled.ikey != ikey:
        return "other"

    return "duplicate" if settled.outcome.same_as(outcome) else "ikey_reused"
