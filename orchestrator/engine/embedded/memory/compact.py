"""Promises and tasks that take little memory and are no business of the garbage collector's.

Tens of thousands of them are held for days. Upstream's records have two or three sets each, nearly always empty: here
the empty ones are all the same object, which is frozen, so that an addition nobody prepared for is an error and not
everybody's. The records form no cycles, so the collector need not look at them, which would halt everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from resonate.connections.local import DurablePromise, Task
from resonate.ids import ORIGIN_SEP

from orchestrator.engine.embedded.disk.images import packed

if TYPE_CHECKING:
    from collections.abc import Mapping

SHARED_STRINGS: Final = 4096


class _NoIds(frozenset[str]):
    """The empty set, for good. Emptying it changes nothing, so that it may be done; nothing can be put into it."""

    __slots__ = ()

    def clear(self) -> None:
        """Leave it as empty as it is."""

    def discard(self, _: str) -> None:
        """Leave it as empty as it is."""


NO_IDS: Final = cast("set[str]", _NoIds())


class CompactPromise(DurablePromise, kw_only=True, gc=False):
    """A promise as it is held."""


class CompactTask(Task, kw_only=True, gc=False):
    """A task as it is held."""


def own(ids: set[str]) -> set[str]:
    """Return a set that may be added to."""
    return set() if ids is NO_IDS else ids


def compact_task(task: Task) -> CompactTask:
    """Return a task as it is held."""
    return CompactTask(
        id=task.id,
        state=task.state,
        version=task.version,
        pid=task.pid,
        ttl=task.ttl,
        resumes=task.resumes or NO_IDS,
    )


class Compactor:
    """Makes promises compact. Tags repeat ids, addresses and names thousands of times: each text is held once."""

    def __init__(self, held: Mapping[str, DurablePromise]) -> None:
        self._held = held
        self._strings = {word: word for word in ("true", "false", "global", "local")}

    def promise(self, promise: DurablePromise) -> CompactPromise:
        """Return a promise as it is held."""
        return CompactPromise(
            id=promise.id,
            state=promise.state,
            param=packed(promise.param),
            value=promise.value,
            tags={self._shared(key): self._shared(value, promise.id) for key, value in promise.tags.items()},
            timeout_at=promise.timeout_at,
            created_at=promise.created_at,
            settled_at=promise.settled_at,
            awaiters=promise.awaiters or NO_IDS,
            subscribers=promise.subscribers or NO_IDS,
        )

    def _shared(self, text: str, own_id: str = "") -> str:
        if text == own_id:
            return own_id

        held = self._strings.get(text)

        if held is not None:
            return held

        other = self._held.get(text)

        if other is not None:
            return other.id

        if len(self._strings) < SHARED_STRINGS and ORIGIN_SEP + "//" in text:
            self._strings[text] = text

        return text
