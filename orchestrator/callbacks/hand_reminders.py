"""The reminders that operators asked for by hand: who asked, why and when, and at most one a minute for each wait.

Each is a note beside the wait, with the next free number, so of two requests at the same instant only one gets it.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, Self

from orchestrator import stored_names
from orchestrator.durable.notes import last_note, read_note, write_note
from orchestrator.durable.opened_at import companion_id
from orchestrator.errors import CountersignError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from resonate.types import PromiseRecord

    from orchestrator.engine.promises import Promises

#: How many milliseconds lie between two reminders at least.
PAUSE: Final = 60_000

#: How many are shown: the last ones.
SHOWN: Final = 5

_KEPT_AFTER: Final = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class HandReminder:
    """A reminder that the operator with the key `by` asked for; `at` is in milliseconds since the epoch.

    `nonce` tells the request that recorded it from others at the same instant.
    """

    number: int
    by: str
    reason: str
    at: int
    nonce: str

    @classmethod
    def read(cls, record: PromiseRecord) -> Self | None:
        """Return what a record says, None if Countersign did not write it."""
        match record.param.data:
            case {
                "countersign": stored_names.FORMAT,
                "reminder": int(number),
                "by": str(by),
                "reason": str(reason),
                "nonce": str(nonce),
            }:
                return cls(number=number, by=by, reason=reason, at=record.created_at, nonce=nonce)
            case _:
                return None


class RemindedAlready(CountersignError):
    """People were reminded less than a minute ago: by `last`, which may be asked for again in `seconds`."""

    def __init__(self, last: HandReminder | None, seconds: int) -> None:
        super().__init__("people were reminded less than a minute ago")
        self.last = last
        self.seconds = seconds


async def record_reminder(  # noqa: PLR0913 - one record, all of it named
    promises: Promises,
    wait: PromiseRecord,
    *,
    by: str,
    reason: str,
    now: float,
    new_nonce: Callable[[], str] = lambda: secrets.token_hex(16),
) -> HandReminder:
    """Record that this operator asks for a reminder now (seconds since the epoch), and return the record.

    Raises:
        RemindedAlready: somebody did so less than a minute ago, or at the same instant.
        EngineUnavailable: whether it is recorded is unknown; when the call is repeated, it may have been.
    """
    number, last = await _last(promises, wait)

    if last is not None and (left := last.at + PAUSE - int(now * 1000)) > 0:
        raise RemindedAlready(last, -(-left // 1000))

    number, nonce = number + 1, new_nonce()
    content = {"countersign": stored_names.FORMAT, "reminder": number, "by": by, "reason": reason, "nonce": nonce}
    ends_at = max(wait.timeout_at, int(now * 1000)) + int(_KEPT_AFTER.total_seconds() * 1000)
    record = await write_note(promises, _id_of(wait, number), content, ends_at=ends_at)
    made = HandReminder.read(record)

    if made is None or made.nonce != nonce:
        raise RemindedAlready(made, PAUSE // 1000)

    return made


async def is_last(promises: Promises, wait: PromiseRecord, number: int) -> bool:
    """Return whether no later reminder was asked for than this one.

    Raises:
        EngineUnavailable: as for any read.
    """
    return await _get(promises, wait, number + 1) is None


async def read_reminders(promises: Promises, wait: PromiseRecord) -> Sequence[HandReminder]:
    """Return the last reminders that were asked for by hand about this wait, oldest first.

    Raises:
        EngineUnavailable: as for any read.
    """
    count, last = await _last(promises, wait)
    before = [await _get(promises, wait, number) for number in range(max(1, count - SHOWN + 1), count)]

    return [one for one in (*before, last) if one is not None]


async def _last(promises: Promises, wait: PromiseRecord) -> tuple[int, HandReminder | None]:
    """Return the highest number in use, 0 if there is none, and what was asked for under it."""
    number, record = await last_note(promises, partial(_id_of, wait))

    return number, None if record is None else HandReminder.read(record)


async def _get(promises: Promises, wait: PromiseRecord, number: int) -> HandReminder | None:
    record = await read_note(promises, _id_of(wait, number))

    return None if record is None else HandReminder.read(record)


def _id_of(wait: PromiseRecord, number: int) -> str:
    return companion_id(wait, f"byhand{number}")
