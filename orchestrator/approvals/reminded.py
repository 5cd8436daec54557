"""How often people were reminded of a question: a small promise for each reminder, kept for as long as its wait.

It is read to be shown, and decides nothing.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from orchestrator.durable.opened_at import companion_id
from orchestrator.durable.scheduling import own_tags
from orchestrator.errors import UnknownPromise

if TYPE_CHECKING:
    from resonate.types import PromiseRecord

    from orchestrator.engine.promises import Promises

#: The highest number that is counted.
MOST: Final = 1023

_KEPT_AFTER: Final = int(timedelta(days=7).total_seconds() * 1000)


async def note_reminder(promises: Promises, wait: PromiseRecord, number: int) -> None:
    """Note that somebody was reminded of this wait's question for this time, the first being 1; once for all people.

    Raises:
        EngineUnavailable: whether it is noted is unknown; repeating the call is safe.
    """
    promise_id = _id_of(wait, number)
    await promises.create(
        promise_id,
        timeout_at=wait.timeout_at + _KEPT_AFTER,
        param=None,
        tags=own_tags(promise_id, transient=True),
    )


async def count_reminders(promises: Promises, wait: PromiseRecord) -> int:
    """Return how often people were reminded of this wait's question, at most `MOST`. Takes a few reads.

    Raises:
        EngineUnavailable: as for any read.
    """
    # The numbers are without gaps, so the highest one is found by halving.
    known, missing = 0, 1

    while missing <= MOST and await _is_noted(promises, wait, missing):
        known, missing = missing, missing * 2

    missing = min(missing, MOST + 1)

    while missing - known > 1:
        middle = (known + missing) // 2

        if await _is_noted(promises, wait, middle):
            known = middle
        else:
            missing = middle

    return known


async def _is_noted(promises: Promises, wait: PromiseRecord, number: int) -> bool:
    try:
        await promises.get(_id_of(wait, number))
    except UnknownPromise:
        return False

    return True


def _id_of(wait: PromiseRecord, number: int) -> str:
    return companion_id(wait, f"reminded{number}")
