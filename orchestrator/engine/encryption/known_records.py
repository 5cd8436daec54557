"""What is known about records: the tasks that run here, and what the value of a promise is bound to.

It remembers the records it was given and fetches the others from the engine. It opens payloads only to find out which
workflows were started under the old form, where payloads were not bound to a place.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from resonate.error import DecodingError, ServerError

from orchestrator.engine.encryption.cipher import PayloadKeyUnknown
from orchestrator.engine.encryption.places import anchor_of
from orchestrator.engine.encryption.unbound import may_be_unbound, starts, unbound_param, workflow_of
from orchestrator.engine.records import record_of, record_places

if TYPE_CHECKING:
    from collections.abc import Callable

    from resonate.types import PromiseRecord

    from orchestrator.engine.encryption.cipher import PayloadCipher

#: For how many seconds a record that was read may be used to bind a settlement.
_FRESH: Final = 1.0

_REMEMBERED: Final = 4096
_NOT_FOUND: Final = 404


class Send(Protocol):
    """The SDK's function for a request to an engine."""

    async def __call__(self, kind: str, data: Any, *, allow_409: bool, routes_by: str | None = None) -> tuple[int, Any]:
        """Return the status and the data of the engine's reply."""


@dataclass(frozen=True, kw_only=True)
class KnownTask:
    """A task that runs here: the life that its promises are tied to, and whether it was started under the old form.

    `anchors` has, for each promise that the task has met, what the promise's value is bound to.
    """

    life: str
    old: bool
    anchors: dict[str, str]


class KnownRecords:
    """The latest tasks and anchors, a limited number of each.

    Methods that fetch from the engine raise what `send` raises. When only a missing key could decide, `key_unknown`
    gets the record and PayloadKeyUnknown is raised.
    """

    def __init__(
        self,
        send: Send,
        cipher: PayloadCipher,
        *,
        key_unknown: Callable[[PromiseRecord], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._send = send
        self._cipher = cipher
        self._key_unknown = key_unknown
        self._clock = clock
        self._tasks: OrderedDict[str, KnownTask] = OrderedDict()
        self._anchors: OrderedDict[str, tuple[float, str]] = OrderedDict()

    def running(self, task_id: str) -> KnownTask | None:
        """Return a task that this process was given, None if it is unknown."""
        return self._tasks.get(task_id)

    async def task(self, task_id: str) -> KnownTask:
        """Return a task that this process runs; fetch its promise from the engine if it is unknown."""
        task = self._tasks.get(task_id)

        return task if task is not None else await self.take(await self._fetch(task_id))

    async def take(self, record: PromiseRecord) -> KnownTask:
        """Remember a task that this process runs, given the record of its promise as the engine has it."""
        anchor = anchor_of(record)
        task = KnownTask(life=anchor, old=await self.is_old(record), anchors={record.id: anchor})
        remember(self._tasks, record.id, task)

        return task

    def drop(self, task_id: str) -> None:
        """Forget a task that no longer runs here."""
        self._tasks.pop(task_id, None)

    def saw(self, promise_id: str, anchor: str) -> None:
        """Remember the anchor of a record that was read just now."""
        remember(self._anchors, promise_id, (self._clock(), anchor))

    async def anchor(self, promise_id: str) -> str:
        """Return what a value of this promise is bound to; fetch the record unless it was read just now."""
        read_at, anchor = self._anchors.pop(promise_id, (0.0, ""))

        if anchor and self._clock() - read_at < _FRESH:
            return anchor

        return anchor_of(await self._fetch(promise_id))

    async def is_old(self, record: PromiseRecord) -> bool:
        """Return whether this promise belongs to a workflow that was started under the old form."""
        if not may_be_unbound(record):
            return False

        param = self._unbound_param(record)
        root_id = workflow_of(record.id, param)

        if root_id != record.id:
            try:
                param = self._unbound_param(await self._fetch(root_id))
            except ServerError as error:
                if error.code == _NOT_FOUND:
                    return False

                raise

        return starts(param, root_id)

    def _unbound_param(self, record: PromiseRecord) -> Any:
        try:
            return unbound_param(record, self._cipher)
        except PayloadKeyUnknown:
            self._key_unknown(record)
            raise

    async def _fetch(self, promise_id: str) -> PromiseRecord:
        _, reply = await self._send("promise.get", {"id": promise_id}, allow_409=False, routes_by=promise_id)

        for container, key in record_places(reply):
            record = record_of(container[key])

            if record is not None:
                return record

        raise DecodingError(f"the engine's reply contains no record of {promise_id}")


def remember[T](memory: OrderedDict[str, T], key: str, value: T) -> None:
    """Store a value as the latest one, and forget the oldest when there are too many."""
    memory[key] = value
    memory.move_to_end(key)

    if len(memory) > _REMEMBERED:
        memory.popitem(last=False)
