"""Deadlines by id, with the next one at hand.

The engine asks "what is due?" many times a second while nothing is: a heap answers from its top. Changing or removing
an entry leaves the old one in the heap, where it is skipped once it comes up, and the heap is rebuilt when such
leftovers outnumber the entries. It knows no clock and fires nothing.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

SLACK = 1000


#: When (milliseconds), its place in the order of insertion, whose it is, a kind the caller chooses. A plain tuple: the
#: garbage collector need not look at those.
type Deadline = tuple[int, int, str, int]


class Deadlines:
    """One deadline at most per id; `due` gives those that have come, in the order in which their ids were added."""

    __slots__ = ("_entries", "_heap", "_order")

    def __init__(self) -> None:
        self._entries: dict[str, Deadline] = {}
        self._heap: list[Deadline] = []
        self._order = 0

    def set(self, id_: str, kind: int, at: int) -> bool:
        """Add or move the deadline of an id; True when it had none. A moved one keeps its place in the order."""
        old = self._entries.get(id_)

        if old is None:
            self._order += 1

        entry = (at, self._order if old is None else old[1], id_, kind)
        self._entries[id_] = entry
        heapq.heappush(self._heap, entry)

        if len(self._heap) > 2 * len(self._entries) + SLACK:
            self._heap = list(self._entries.values())
            heapq.heapify(self._heap)

        return old is None

    def remove(self, id_: str) -> bool:
        """Remove the deadline of an id; True when it had one."""
        return self._entries.pop(id_, None) is not None

    def next(self) -> int | None:
        """Return when the earliest deadline is, None when there is none."""
        while self._heap:
            top = self._heap[0]

            if self._entries.get(top[2]) is top:
                return top[0]

            heapq.heappop(self._heap)

        return None

    def due(self, now: int, limit: int | None = None) -> list[Deadline]:
        """Return the entries that have come, `limit` of the earliest at most, in order of insertion.

        They are not given twice, yet stay known to `set` until they are moved, removed or given to `forget`.
        """
        due: list[Deadline] = []

        while (at := self.next()) is not None and at <= now and (limit is None or len(due) < limit):
            due.append(heapq.heappop(self._heap))

        due.sort(key=_by_order)
        return due

    def forget(self, due: Iterable[Deadline]) -> None:
        """Remove those entries that nobody has moved since `due` gave them."""
        for entry in due:
            if self._entries.get(entry[2]) is entry:
                del self._entries[entry[2]]


def _by_order(entry: Deadline) -> int:
    return entry[1]
