"""What can be searched for in an engine: workflows by their roots, and open waits. Part of the engine's interface.

An engine searches by what is not encrypted: ids, times, tags, and the state that a root's value names in its header. So
what it finds is a candidate: whoever lists it opens the record and decides by what that says. Pages are by position,
not by number: a page begins behind the last item of the page before, whatever was started or ended in between.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol

from orchestrator.stored_names import CALLBACK_TAG, NONCE_TAG, STATE_HEADER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from resonate.types import PromiseRecord

#: The state of a workflow as an engine knows it. `ended` stands for an end whose state only the value itself tells.
type Status = Literal["running", "succeeded", "failed", "expired", "cancelled", "ended"]

ENDED: Final[Status] = "ended"
_NAMED: Final[Mapping[str, Status]] = {each: each for each in ("succeeded", "failed", "expired", "cancelled")}
_UNNAMED: Final[Mapping[str, Status]] = {
    "pending": "running",
    "rejected": "failed",
    "rejected_timedout": "expired",
    "rejected_canceled": "cancelled",
}


class Position(NamedTuple):
    """A place in a list: when something was created, in milliseconds since the epoch, and its promise id."""

    at: int
    id: str


@dataclass(frozen=True, kw_only=True)
class RootSearch:
    """Which roots to find, the latest first: those before a position, created in `since` to `until`, both included.

    `statuses` are the states to find, none for all. A root whose state the engine does not know fits every end.
    """

    limit: int
    before: Position | None = None
    workflow: str | None = None
    statuses: frozenset[Status] = frozenset()
    since: int | None = None
    until: int | None = None


@dataclass(frozen=True, kw_only=True)
class WaitSearch:
    """Which open waits to find, the oldest first: those after a position.

    `people` are digests, of which a wait must have one unless it was opened before waits had any; likewise `audience`.
    """

    limit: int
    after: Position | None = None
    workflow: str | None = None
    audience: str | None = None
    people: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Found:
    """Records in the order that was asked for, payloads still as stored, and the position behind the last one examined.

    `next` is None when there is no more; otherwise there may be more, even if few or none were found. `caveats` say, as
    sentences, what this engine could not do or not do cheaply.
    """

    records: Sequence[PromiseRecord]
    next: Position | None
    caveats: Sequence[str] = field(default=())


class Search(Protocol):
    """How one kind of engine searches."""

    async def roots(self, search: RootSearch) -> Found:
        """Return the workflows that were found.

        Raises:
            EngineUnavailable: the engine did not answer, or cannot search; says why.
        """
        ...

    async def waits(self, search: WaitSearch) -> Found:
        """Return the open waits that were found. Raises what `roots` raises."""
        ...


def is_root(promise_id: str, tags: Mapping[str, str]) -> bool:
    """Return whether this is the root of a workflow."""
    return NONCE_TAG in tags and ":" not in promise_id


def is_wait(promise_id: str, tags: Mapping[str, str]) -> bool:
    """Return whether this is a wait of a workflow."""
    return CALLBACK_TAG in tags and ":" in promise_id


def workflow_of(promise_id: str) -> str:
    """Return the name of the workflow that a promise belongs to."""
    return promise_id.partition(".")[0]


def status_of(state: str, headers: Mapping[str, str] | None) -> Status:
    """Return the state of a workflow, given the state of its root and the headers of the root's value."""
    if state in _UNNAMED:
        return _UNNAMED[state]

    return _NAMED.get((headers or {}).get(STATE_HEADER, ""), ENDED)


def wanted(statuses: frozenset[Status]) -> frozenset[Status]:
    """Return the states to look through for these: an end that the engine does not know may be any of them."""
    return statuses | {ENDED} if statuses - {"running"} else statuses
