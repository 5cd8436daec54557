"""Deadlines by id, with quick access to the next one.

The engine checks many times a second what is due, and nearly always nothing is; a heap makes that check cheap. Changing
or removing an entry leaves the old one in the heap. It is skipped when it reaches the top, and the heap is rebuilt when
such leftovers outnumber the entries. This class has no clock and fires nothing.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

SLACK = 1000


#: The time (milliseconds), the position in the order of insertion, the id, and a kind that the caller chooses. A plain
#: tuple, because the garbage collector does not track those.
type Deadline = tuple[int, int, str, int]


class Deadlines:
    """At most one deadline per id. `due` returns those that have passed, in the order in which their ids were added."""

    __slots__ = ("_entries", "_heap", "_order", "earliest_set")

    def __init__(self) -> None:
        #: The earliest deadline that was set since somebody reset this to None.
        self.earliest_set: int | None = None
        self._entries: dict[str, Deadline] = {}
        self._heap: list[Deadline] = []
        self._order = 0

    def set(self, id_: str, kind: int, at: int) -> bool:
        """Add or move the deadline of an id. Return True if it had none. A moved deadline keeps its position."""
        old = self._entries.get(id_)

        if old is None:
            self._order += 1

        entry = (at, self._order if old is None else old[1], id_, kind)
        self._entries[id_] = entry
        heapq.heappush(self._heap, entry)

        if self.earliest_set is None or at < self.earliest_set:
            self.earliest_set = at

        if len(self._heap) > 2 * len(self._entries) + SLACK:
            self._heap = list(self._entries.values())
            heapq.heapify(self._heap)

        return old is None

    def remove(self, id_: str) -> bool:
        """Remove the deadline of an id. Return True if it had one."""
        return self._entries.pop(id_, None) is not None

    def next(self) -> int | None:
        """Return the time of the earliest deadline, None if there is none."""
        while self._heap:
            top = self._heap[0]

            if self._entries.get(top[2]) is top:
                return top[0]

            heapq.heappop(self._heap)

        return None

    def due(self, now: int, limit: int | None = None) -> list[Deadline]:
        """Return the entries that are due, at most the `limit` earliest, in order of insertion.

        Each entry is returned once. `set` still knows its id until it is moved, removed or passed to `forget`.
        """
        due: list[Deadline] = []

        while (at := self.next()) is not None and at <= now and (limit is None or len(due) < limit):
            due.append(heapq.heappop(self._heap))

        due.sort(key=_by_order)
        return due

    def forget(self, due: Iterable[Deadline]) -> None:
        """Remove those entries that have not been moved since `due` returned them."""
        for entry in due:
            if self._entries.get(entry[2]) is entry:
                del self._entries[entry[2]]


def _by_order(entry: Deadline) -> int:
    return entry[1]
