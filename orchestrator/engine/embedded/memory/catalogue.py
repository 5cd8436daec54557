"""Which workflows and open waits are in memory, in the order of lists: by workflow and state, by audience, by person.

It holds ids and times only. Every list that somebody asks for is merged from the few that fit.
"""

from __future__ import annotations

from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, Final

from orchestrator.engine.embedded.disk.root_rows import holds_something, root_status
from orchestrator.engine.embedded.memory.timeline import Timeline
from orchestrator.engine.search import Position, is_root, is_wait, wanted, workflow_of
from orchestrator.stored_names import AUDIENCE_TAG, PEOPLE_TAG

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from resonate.connections.local import DurablePromise

    from orchestrator.engine.search import RootSearch, Status, WaitSearch


#: The audience of a wait that was opened before waits said it.
_UNSAID: Final = ""


class Catalogue:
    """The workflows and open waits among the promises of a state, which tells it of each addition and settling."""

    def __init__(self) -> None:
        self._roots: dict[tuple[str, Status], Timeline] = {}
        self._waits: dict[tuple[str, str], Timeline] = {}
        self._people: dict[str, Timeline] = {}

    def added(self, promise: DurablePromise) -> None:
        """Take in a promise that is new in memory."""
        if is_root(promise.id, promise.tags):
            _line(self._roots, (workflow_of(promise.id), root_status(promise))).add(promise.created_at, promise.id)
        elif promise.state == "pending" and is_wait(promise.id, promise.tags):
            for line in self._lines_of(promise):
                line.add(promise.created_at, promise.id)

    def settled(self, promise: DurablePromise) -> None:
        """Note that a promise which was pending has been settled just now."""
        if is_root(promise.id, promise.tags):
            workflow = workflow_of(promise.id)
            _line(self._roots, (workflow, "running")).remove(promise.created_at, promise.id)
            _line(self._roots, (workflow, root_status(promise))).add(promise.created_at, promise.id)
        elif is_wait(promise.id, promise.tags):
            self._close(promise)

    def dropped(self, promise: DurablePromise) -> None:
        """Forget a promise that leaves memory."""
        if is_root(promise.id, promise.tags):
            _line(self._roots, (workflow_of(promise.id), root_status(promise))).remove(promise.created_at, promise.id)
        elif promise.state == "pending" and is_wait(promise.id, promise.tags):
            self._close(promise)

    def roots(self, search: RootSearch) -> list[Position]:
        """Return the roots to be found, at most as many as the search's limit and one more."""
        statuses = wanted(search.statuses)
        lines = [
            line
            for (workflow, status), line in self._roots.items()
            if search.workflow in {None, workflow} and (not statuses or status in statuses)
        ]
        before = search.before if search.until is None else _earlier(search.before, Position(search.until + 1, ""))
        entries = merge(*(line.before(before) for line in lines), reverse=True)

        return _positions(_since(entries, search.since), search.limit)

    def waits(self, search: WaitSearch) -> list[Position]:
        """Return the open waits to be found, at most as many as the search's limit and one more."""
        if search.people:
            lines = [self._people[digest] for digest in search.people if digest in self._people]
            lines += [line for (_, audience), line in self._waits.items() if audience == _UNSAID]
        else:
            lines = [
                line
                for (workflow, audience), line in self._waits.items()
                if search.workflow in {None, workflow} and (search.audience in {None, audience} or audience == _UNSAID)
            ]

        entries = merge(*(line.after(search.after) for line in lines))

        if search.people and search.workflow is not None:
            return _positions((one for one in entries if workflow_of(one[1]) == search.workflow), search.limit)

        return _positions(entries, search.limit)

    def open_waits(self) -> tuple[int, int | None]:
        """Return how many waits are open, and when the oldest was opened (milliseconds), None if there is none."""
        firsts = [first[0] for line in self._waits.values() if (first := line.first()) is not None]

        return sum(map(len, self._waits.values())), min(firsts, default=None)

    def _close(self, promise: DurablePromise) -> None:
        for line in self._lines_of(promise):
            line.remove(promise.created_at, promise.id)

        for digest in _people_of(promise):
            if not self._people[digest]:
                del self._people[digest]

    def _lines_of(self, promise: DurablePromise) -> Iterator[Timeline]:
        audience = promise.tags.get(AUDIENCE_TAG)

        if audience is None:
            audience = _UNSAID if holds_something(promise.param) else "machine"

        yield _line(self._waits, (workflow_of(promise.id), audience))

        for digest in _people_of(promise):
            yield _line(self._people, digest)


def _people_of(promise: DurablePromise) -> Iterable[str]:
    people = promise.tags.get(PEOPLE_TAG)

    return () if people is None else dict.fromkeys(people.split())


def _line[Key](lines: dict[Key, Timeline], key: Key) -> Timeline:
    line = lines.get(key)

    if line is None:
        line = lines[key] = Timeline()

    return line


def _earlier(one: Position | None, other: Position) -> Position:
    return other if one is None else min(one, other)


def _since(entries: Iterable[tuple[int, str]], since: int | None) -> Iterator[tuple[int, str]]:
    for entry in entries:
        if since is not None and entry[0] < since:
            return

        yield entry


def _positions(entries: Iterable[tuple[int, str]], limit: int) -> list[Position]:
    return [Position(*entry) for entry in islice(entries, limit + 1)]
