"""Which lineages exist, what belongs to each, and since when each is over.

A lineage is a root promise and everything whose id extends its id. It is over when its root is settled and none of its
promises with a task is pending; a plain promise that nobody will settle any more does not keep it open. Nothing is
dropped here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from resonate.ids import ORIGIN_SEP
from resonate.types import PromiseRecord

from orchestrator.stored_names import NONCE_TAG, TRANSIENT_TAG

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from resonate.connections.local import DurablePromise


def origin_of(promise_id: str) -> str:
    """Return the lineage of an id: everything before its first colon."""
    return promise_id.partition(ORIGIN_SEP)[0]


def ancestors(promise_id: str) -> Iterator[str]:
    """Yield this id, and those above it up to its lineage: `a:1.2`, `a:1`, `a`."""
    origin, _, path = promise_id.partition(ORIGIN_SEP)

    while path:
        yield f"{origin}{ORIGIN_SEP}{path}"
        path = path.rpartition(".")[0]

    yield origin


def is_transient(root: DurablePromise | None) -> bool:
    """Return whether the root of a lineage is tagged to be dropped soon after the lineage is over."""
    return root is not None and root.tags.get(TRANSIENT_TAG) == "true"


def expired_roots(promises: Mapping[str, DurablePromise], settled: Iterable[str]) -> Iterator[PromiseRecord]:
    """Yield the workflows among the settled promises that reached their own timeout, without payloads."""
    for promise_id in settled:
        if ORIGIN_SEP in promise_id or (root := promises.get(promise_id)) is None:
            continue

        if root.state == "rejected_timedout" and NONCE_TAG in root.tags:
            yield PromiseRecord(
                id=root.id,
                state=root.state,
                timeout_at=root.timeout_at,
                created_at=root.created_at,
                settled_at=root.settled_at,
            )


class Lineage(msgspec.Struct, gc=False):
    """One lineage: its promises in order of creation, how many tasks may still run, and how many schedules it has."""

    promises: list[str]
    running: int = 0
    schedules: int = 0


class Lineages:
    """The lineages by their origin. Times are in milliseconds."""

    __slots__ = ("_finished", "_held")

    def __init__(self) -> None:
        self._held: dict[str, Lineage] = {}
        self._finished: tuple[dict[str, int], dict[str, int]] = ({}, {})

    def __len__(self) -> int:
        return len(self._held)

    def of(self, origin: str) -> Lineage:
        """Return a lineage, and create it if it is unknown."""
        lineage = self._held.get(origin)

        if lineage is None:
            lineage = self._held[origin] = Lineage([])

        return lineage

    def remove(self, origin: str) -> None:
        """Forget a lineage."""
        del self._held[origin]
        self.reopen(origin)

    def close(self, origin: str, root: DurablePromise | None, at: int) -> None:
        """Record that a lineage is over, if it is."""
        lineage = self._held.get(origin)

        if root is None or root.state == "pending" or lineage is None or lineage.running or lineage.schedules:
            return

        self._finished[is_transient(root)].setdefault(origin, at)

    def reopen(self, origin: str) -> None:
        """Record that a lineage is not over."""
        self._finished[0].pop(origin, None)
        self._finished[1].pop(origin, None)

    def finished_before(self, cutoff: int, *, transient: bool) -> Iterator[str]:
        """Yield the lineages that were over before `cutoff`, the earliest first. Change none while iterating."""
        for origin, at in self._finished[transient].items():
            if at >= cutoff:
                return

            yield origin

    def finished_at(self, origin: str) -> int | None:
        """Return since when a lineage is over, None if it is open or unknown."""
        return self._finished[0].get(origin, self._finished[1].get(origin))
