"""Marks: what has happened once and must not happen again, remembered longer than its promises.

An engine deletes finished promises after a while, and with them every trace that they existed. A mark is a digest that
stays. It says nothing but "seen". The number of marks is limited: the oldest make room for new ones.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Protocol

from orchestrator import stored_names
from orchestrator.errors import UnknownPromise

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.engine.promises import Promises


#: How long a remote engine keeps a mark.
KEPT: Final = timedelta(days=366)

_BYTES: Final = 16


class Marks(Protocol):
    """Digests that were seen. Both methods may raise EngineUnavailable; retrying is safe."""

    async def has(self, digest: bytes) -> bool:
        """Return whether this digest was put. The oldest digests may have been forgotten."""

    async def put(self, digest: bytes) -> None:
        """Store this digest durably. Putting it again changes nothing."""


class PromiseMarks:
    """Marks stored as promises that nobody settles, one promise each, for a remote engine."""

    def __init__(self, promises: Promises, *, clock: Callable[[], float] = time.time) -> None:
        self._promises = promises
        self._clock = clock

    async def has(self, digest: bytes) -> bool:
        """Return whether the promise exists and is a mark of this digest."""
        try:
            record = await self._promises.get(_id_of(digest))
        except UnknownPromise:
            return False

        return bool(record.param.data == _param_of(digest))

    async def put(self, digest: bytes) -> None:
        """Create the promise."""
        await self._promises.create(
            _id_of(digest),
            timeout_at=int((self._clock() + KEPT.total_seconds()) * 1000),
            param=_param_of(digest),
            tags={"countersign:mark": "true"},
        )


def _param_of(digest: bytes) -> dict[str, object]:
    return {"countersign": stored_names.FORMAT, "mark": digest[:_BYTES].hex()}


def _id_of(digest: bytes) -> str:
    return f"countersign~mark.{digest[:_BYTES].hex()}"
