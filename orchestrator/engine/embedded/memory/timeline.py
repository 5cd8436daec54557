"""Ids in the order of their times: adding, removing and finding a place cost little, however many there are.

A list of short sorted lists, as in sortedcontainers. Most ids are added at the end, because time goes on.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    type Entry = tuple[int, str]

#: How many entries a list has when it is full; one into which entries are put in the middle has twice as many at most.
BLOCK: Final = 512


class Timeline:
    """Pairs of a time and an id, sorted. Change nothing while iterating."""

    __slots__ = ("_blocks", "_length")

    def __init__(self) -> None:
        self._blocks: list[list[Entry]] = []
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, at: int, id_: str) -> None:
        """Add an entry that is not there yet."""
        entry = (at, id_)
        blocks = self._blocks
        self._length += 1

        if not blocks or entry > blocks[-1][-1]:
            if blocks and len(blocks[-1]) < BLOCK:
                blocks[-1].append(entry)
            else:
                blocks.append([entry])

            return

        place = self._place(entry)
        block = blocks[place]
        insort(block, entry)

        if len(block) > 2 * BLOCK:
            blocks[place : place + 1] = [block[:BLOCK], block[BLOCK:]]

    def remove(self, at: int, id_: str) -> None:
        """Remove an entry; do nothing if it is not there."""
        entry = (at, id_)
        place = self._place(entry)

        if place == len(self._blocks):
            return

        block = self._blocks[place]
        index = bisect_left(block, entry)

        if block[index] != entry:
            return

        self._length -= 1
        del block[index]

        if not block:
            del self._blocks[place]

    def first(self) -> Entry | None:
        """Return the earliest entry, None if there is none."""
        return self._blocks[0][0] if self._blocks else None

    def after(self, entry: Entry | None) -> Iterator[Entry]:
        """Yield the entries after this one, the earliest first; all if it is None."""
        place = 0 if entry is None else self._place(entry)

        for block in self._blocks[place:]:
            start = 0 if entry is None else bisect_right(block, entry)
            yield from block[start:]

    def before(self, entry: Entry | None) -> Iterator[Entry]:
        """Yield the entries before this one, the latest first; all if it is None."""
        last = len(self._blocks) - 1 if entry is None else min(self._place(entry), len(self._blocks) - 1)

        for place in range(last, -1, -1):
            block = self._blocks[place]
            end = len(block) if entry is None else bisect_left(block, entry)
            yield from reversed(block[:end])

    def _place(self, entry: Entry) -> int:
        """Return which list has this entry or the next one; the number of lists if all entries are before it."""
        return bisect_left(self._blocks, entry, key=lambda block: block[-1])
