"""How far the work behind a wait has come, as the job itself says while it runs.

Each report is a note beside the wait, and ends with the wait's deadline. The newest one counts. Reports are accepted at
a bounded rate, the slower the longer the wait is open, so a wait has a few hundred records at most, whatever a job
sends. What is read back is shown to people and decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Self

from orchestrator import stored_names
from orchestrator.durable.notes import last_note, write_note
from orchestrator.durable.opened_at import companion_id
from orchestrator.text.display import one_line

if TYPE_CHECKING:
    from resonate.types import PromiseRecord

    from orchestrator.engine.promises import Promises

#: Milliseconds between two reports that are recorded, at least. They grow with the age of the wait, to a 50th of it.
SHORTEST: Final = 10_000
_PART: Final = 50

#: How many reports of a wait are recorded. At that rate, a wait of a year has fewer.
MOST: Final = 1023

#: The longest message, in characters.
LONGEST: Final = 200


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A report: `fraction` from 0 to 1, or None; a message on one line; and when it came, in milliseconds."""

    fraction: float | None
    message: str
    at: int

    @classmethod
    def reported(cls, fraction: float | None, message: str, *, at: int) -> Self:
        """Return the report that somebody outside makes, its message cut to length."""
        return cls(fraction=fraction, message=one_line(message, LONGEST), at=at)

    @classmethod
    def read(cls, record: PromiseRecord) -> Self | None:
        """Return the report that a record holds, None if Countersign did not write it."""
        match record.param.data:
            case {
                "countersign": stored_names.FORMAT,
                "progress": int(),
                "fraction": float() | int() | None as fraction,
                "message": str(message),
                "at": int(at),
            }:
                return cls(fraction=fraction, message=message, at=at)
            case _:
                return None

    def __str__(self) -> str:
        """Return the report as people read it: "40 %: the second table"."""
        done = "" if self.fraction is None else f"{self.fraction:.0%}".replace("%", " %")

        return ": ".join(part for part in (done, self.message) if part)


async def record_progress(promises: Promises, wait: PromiseRecord, progress: Progress) -> int:
    """Record a report on this wait, which is open; return in how many milliseconds the next one is recorded.

    A report that comes too early is not recorded. Of two that come at once, one is.

    Raises:
        EngineUnavailable: whether it is recorded is unknown.
    """
    number, newest = await _newest(promises, wait)

    if newest is not None and progress.at < (due := newest.at + _pause_after(wait, newest)):
        return due - progress.at

    if number < MOST:
        content = {
            "countersign": stored_names.FORMAT,
            "progress": number + 1,
            "fraction": progress.fraction,
            "message": progress.message,
            "at": progress.at,
        }
        await write_note(promises, _id_of(wait, number + 1), content, ends_at=wait.timeout_at)

    return _pause_after(wait, progress)


async def read_progress(promises: Promises, wait: PromiseRecord) -> Progress | None:
    """Return the newest report on this wait, None if there is none. One read where nothing was ever reported.

    Raises:
        EngineUnavailable: as for any read.
    """
    _, newest = await _newest(promises, wait)

    return newest


def _pause_after(wait: PromiseRecord, progress: Progress) -> int:
    return max(SHORTEST, (progress.at - wait.created_at) // _PART)


async def _newest(promises: Promises, wait: PromiseRecord) -> tuple[int, Progress | None]:
    """Return the number of the newest report, 0 if there is none, and the report."""
    number, record = await last_note(promises, partial(_id_of, wait), most=MOST)

    return number, None if record is None else Progress.read(record)


def _id_of(wait: PromiseRecord, number: int) -> str:
    return companion_id(wait, f"progress{number}")
