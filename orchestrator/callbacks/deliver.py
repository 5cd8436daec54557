"""Delivering an outcome with a token: the same rules for machine callbacks, decisions of people and webhooks.

A token is for one wait. A later wait under the same promise id is another one, and no token of the earlier wait settles
it. An expired token can repeat what is recorded, and never settles anything. What a surface checks beyond the token is
checked last, when the wait is known to be open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from orchestrator.callbacks.claims import TokenExpired
from orchestrator.callbacks.later_answers import keep_if_later
from orchestrator.callbacks.outcomes import read_settled
from orchestrator.callbacks.settlement import Settlement, resolve, verdict_on
from orchestrator.errors import CountersignError, UnknownPromise

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from resonate.types import PromiseRecord

    from orchestrator.callbacks.claims import Claims, Presented
    from orchestrator.callbacks.outcomes import Outcome, Settled
    from orchestrator.engine.promises import Promises


class WaitReplaced(CountersignError):
    """The wait of a token is over, and the engine holds a later one with the same id."""


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """The wait that a token is for, as the engine held it when it was read. `settled` is None while it is open."""

    presented: Presented
    record: PromiseRecord
    settled: Settled | None

    @property
    def claims(self) -> Claims:
        """What the token says."""
        return self.presented.claims


async def wait_of(promises: Promises, presented: Presented) -> Wait:
    """Return the wait that this token is for.

    Raises:
        TokenExpired: the engine does not hold this wait, and the token has expired.
        UnknownPromise: the engine does not hold this wait, although the token has not expired.
        WaitReplaced: the engine holds a later wait with the same id.
        EngineUnavailable: no reply in time.
    """
    claims = presented.claims

    try:
        record = await promises.get(claims.promise_id)
    except UnknownPromise:
        if presented.expired:
            raise TokenExpired(claims) from None

        raise

    if not claims.is_for(record):
        raise WaitReplaced(claims.promise_id)

    return Wait(presented=presented, record=record, settled=read_settled(record, callback=claims.callback))


async def deliver(
    promises: Promises,
    wait: Wait,
    outcome: Outcome,
    ikey: str,
    *,
    check: Callable[[], Awaitable[None]] | None = None,
) -> Settlement:
    """Settle the wait with this outcome, or return how it was settled before.

    An answer that comes after somebody else's is kept beside it where the wait's terms say so.

    `check` is awaited only when this delivery would settle the wait; if it raises, the wait stays open. A wait that is
    over gets a verdict whether or not the token has expired. Does not check that the token allows this outcome.

    Raises:
        TokenExpired: the wait was open when it was read, but the token had expired.
        UnknownPromise: the wait has vanished since it was read.
        EngineUnavailable: whether the wait is settled is unknown; repeating the delivery is safe.
    """
    if wait.settled is not None:
        settlement = Settlement(verdict=verdict_on(wait.settled, ikey, outcome), settled=wait.settled)
    elif wait.presented.expired:
        raise TokenExpired(wait.claims)
    else:
        if check is not None:
            await check()

        promise_id, opened = wait.claims.promise_id, wait.claims.opened_at
        settlement = await resolve(promises, promise_id, ikey=ikey, outcome=outcome, opened=opened)

    if not wait.presented.expired:
        await keep_if_later(promises, wait.record, outcome, ikey, settlement)

    return settlement
