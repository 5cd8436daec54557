"""Promises and tasks in a form that takes little memory and that the garbage collector does not track.

Tens of thousands of them are held for days. Upstream's records have two or three sets each, and nearly all of these are
empty. Here all empty sets are one shared object. It is frozen, so an addition that was not prepared with `own` raises
an error instead of changing every record. The records form no cycles, so the collector need not scan them; a scan would
stop the whole process for a moment.
"""

from __future__ import annotations

from sys import intern
from typing import TYPE_CHECKING, Final, cast

from resonate.connections.local import DurablePromise, Task
from resonate.ids import ORIGIN_SEP

from orchestrator.engine.embedded.disk.images import packed

if TYPE_CHECKING:
    from collections.abc import Mapping

SHARED_STRINGS: Final = 4096


class _NoIds(frozenset[str]):
    """A permanently empty set. Nothing can be added; clearing and discarding are allowed, because they do nothing."""

    __slots__ = ()

    def clear(self) -> None:
        """Do nothing."""

    def discard(self, _: str) -> None:
        """Do nothing."""


NO_IDS: Final = cast("set[str]", _NoIds())


class CompactPromise(DurablePromise, kw_only=True, gc=False):
    """A promise in compact form."""


class CompactTask(Task, kw_only=True, gc=False):
    """A task in compact form."""


def own(ids: set[str]) -> set[str]:
    """Return this set, or a new one in place of the shared empty set, so that ids can be added."""
    return set() if ids is NO_IDS else ids


def compact_task(task: Task) -> CompactTask:
    """Return a task in compact form."""
    return CompactTask(
        id=task.id,
        state=task.state,
        version=task.version,
        pid=task.pid,
        ttl=task.ttl,
        resumes=task.resumes or NO_IDS,
    )


class Compactor:
    """Makes promises compact. Tags repeat ids, addresses and names thousands of times; each string is kept once."""

    def __init__(self, held: Mapping[str, DurablePromise]) -> None:
        self._held = held
        self._strings = {word: word for word in ("true", "false", "global", "local")}

    def promise(self, promise: DurablePromise) -> CompactPromise:
        """Return a promise in compact form."""
        return CompactPromise(
            id=promise.id,
            state=promise.state,
            param=packed(promise.param),
            value=promise.value,
            tags=self._shared(promise.tags, promise.id),
            timeout_at=promise.timeout_at,
            created_at=promise.created_at,
            settled_at=promise.settled_at,
            awaiters=promise.awaiters or NO_IDS,
            subscribers=promise.subscribers or NO_IDS,
        )

    def _shared(self, tags: Mapping[str, str], own_id: str) -> dict[str, str]:
        shared = {}

        for key, text in tags.items():
            if text == own_id:
                kept = own_id
            elif (word := self._strings.get(text)) is not None:
                kept = word
            elif (other := self._held.get(text)) is not None:
                kept = other.id
            else:
                kept = text

                if len(self._strings) < SHARED_STRINGS and ORIGIN_SEP + "//" in text:
                    self._strings[text] = text

            shared[intern(key)] = kept

        return shared
