"""The failed tries of a step in the store, so that any process can show them and a new one goes on counting.

Each is a note, named after the step and the moment it began. Only some tries of a step that fails very often are
recorded. What is read back is used to count and to show, never to decide what a step returns.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from orchestrator import stored_names
from orchestrator.durable.notes import read_note, write_note
from orchestrator.errors import EngineUnavailable, UnknownPromise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from resonate.types import PromiseRecord

    from orchestrator.engine.promises import Promises

logger = logging.getLogger(__name__)

#: The first tries of a step are all recorded, after them those whose number is a power of two.
ALL_UP_TO: Final = 8
_LARGEST: Final = 2**30

#: How many tries are shown: the last ones.
SHOWN: Final = 5

_KEPT: Final = timedelta(days=7)


@dataclass(frozen=True, kw_only=True)
class TryRecord:
    """A failed try. Times are in milliseconds since the epoch; `next_at` is None if no try follows."""

    number: int
    at: int
    error: str
    next_at: int | None


class TryRecords:
    """The records of one step's tries, or of none, which only counts.

    A failure of the engine is logged and changes nothing for the step.
    """

    def __init__(self, promises: Promises, step_id: str | None, *, clock: Callable[[], float]) -> None:
        self._promises = promises
        self._step_id = step_id
        self._clock = clock
        self._step: PromiseRecord | None = None
        self._made = 0
        #: When the next try is due by the record, in milliseconds, if the one that failed last came too early.
        self.due: int | None = None

    async def next_number(self) -> int:
        """Return the number of the try that has just failed, counted on from the recorded ones.

        A process that starts makes a try at once. If it comes before the pause of the last one is over, or after the
        last one of all, it takes the place of that one, so that crashes do not use the tries up.
        """
        self.due = None

        if self._step is None and self._step_id is not None:
            with self._told():
                self._step = await self._promises.get(self._step_id)
                self._made = max(self._made, self._made_before(await read_tries(self._promises, self._step)))

        self._made += 1

        return self._made

    def _made_before(self, recorded: Sequence[TryRecord]) -> int:
        if not recorded:
            return 0

        last = recorded[-1]

        if last.next_at is not None and last.next_at <= self._clock() * 1000:
            return last.number

        self.due = last.next_at

        return last.number - 1

    async def add(self, number: int, *, at: int, error: str, next_at: int | None) -> None:
        """Record this try, if its number is one that is recorded. Times are as in `TryRecord`."""
        if self._step is None or number not in _recorded():
            return

        with self._told():
            content = {
                "countersign": stored_names.FORMAT,
                "try": number,
                "at": at,
                "error": error,
                "next_at": next_at,
            }
            ends_at = int((self._clock() + _KEPT.total_seconds()) * 1000)
            await write_note(self._promises, _id_of(self._step, number), content, ends_at=ends_at)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (EngineUnavailable, UnknownPromise) as error:
            logger.warning("a failed try of %s could not be recorded: %s", self._step_id, error)


async def read_tries(promises: Promises, step: PromiseRecord) -> Sequence[TryRecord]:
    """Return the last failed tries of the step of this record, oldest first.

    Raises:
        EngineUnavailable: as for any read.
    """
    found: list[TryRecord] = []

    for number in _recorded():
        record = await read_note(promises, _id_of(step, number))

        match None if record is None else record.param.data:
            case {
                "countersign": stored_names.FORMAT,
                "try": int(made),
                "at": int(at),
                "error": str(error),
                "next_at": int() | None as next_at,
            }:
                found.append(TryRecord(number=made, at=at, error=error, next_at=next_at))
            case _:
                break

    return found[-SHOWN:]


def _recorded() -> Iterator[int]:
    """Yield the numbers of the tries that are recorded, in order."""
    yield from range(1, ALL_UP_TO + 1)
    number = ALL_UP_TO * 2

    while number < _LARGEST:
        yield number
        number *= 2


def _id_of(step: PromiseRecord, number: int) -> str:
    return f"{step.id.replace(':', '~')}~{step.created_at}~try{number}"
