"""How far the work behind a wait has come, as the job itself says while it runs.

Each report is a small promise of its own beside the workflow, named after the wait and numbered; nobody settles it, and
it ends with the wait's deadline. The newest one counts. Reports are accepted at a bounded rate, the slower the longer
the wait is open, so a wait has a few hundred records at most, whatever a job sends. What is read back is shown to
people and decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from orchestrator import stored_names
from orchestrator.durable.opened_at import companion_id
from orchestrator.durable.scheduling import own_tags
from orchestrator.errors import UnknownPromise
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
        promise_id = _id_of(wait, number + 1)
        await promises.create(
            promise_id,
            timeout_at=wait.timeout_at,
            param={
                "countersign": stored_names.FORMAT,
                "progress": number + 1,
                "fraction": progress.fraction,
                "message": progress.message,
                "at": progress.at,
            },
            tags=own_tags(promise_id, transient=True),
        )

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
    """Return the number of the newest report, 0 if there is none, and the report.

    They are numbered without gaps, so twice as many reads as the number has bits find the last one.
    """
    low, high, found = 0, 1, None

    while high <= MOST and (one := await _read(promises, wait, high)) is not None:
        low, high, found = high, high * 2, one

    while high - low > 1:
        middle = (low + high) // 2
        one = await _read(promises, wait, middle)

        if one is None:
            high = middle
        else:
            low, found = middle, one

    return low, found


async def _read(promises: Promises, wait: PromiseRecord, number: int) -> Progress | None:
    try:
        record = await promises.get(_id_of(wait, number))
    except UnknownPromise:
        return None

    match record.param.data:
        case {
            "countersign": stored_names.FORMAT,
            "progress": int(),
            "fraction": float() | int() | None as fraction,
            "message": str(message),
            "at": int(at),
        }:
            return Progress(fraction=fraction, message=message, at=at)
        case _:
            return None


def _id_of(wait: PromiseRecord, number: int) -> str:
    return companion_id(wait, f"progress{number}")
