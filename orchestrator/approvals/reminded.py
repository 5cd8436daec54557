"""How often people were reminded of a question: a note for each reminder, kept for as long as its wait.

It is read to be shown, and decides nothing.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from orchestrator.durable.notes import last_note, write_note
from orchestrator.durable.opened_at import companion_id

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
    await write_note(promises, _id_of(wait, number), None, ends_at=wait.timeout_at + _KEPT_AFTER)


async def count_reminders(promises: Promises, wait: PromiseRecord) -> int:
    """Return how often people were reminded of this wait's question, at most `MOST`. Takes a few reads.

    Raises:
        EngineUnavailable: as for any read.
    """
    number, _ = await last_note(promises, partial(_id_of, wait), most=MOST)

    return number


def _id_of(wait: PromiseRecord, number: int) -> str:
    return companion_id(wait, f"reminded{number}")
