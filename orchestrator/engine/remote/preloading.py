"""What a worker has seen of its runs, given to it again with their tasks, where the engine does not.

resonate-pg gives a worker a task without what its run has on record. So a replay would ask for each step and each wait
once more, one after the other. What this process has seen settled never changes: it is kept as the database sent it,
sealed. The waits that it has seen open are read in the statement that takes the task. Whatever is missing here is asked
for as before, so this may forget anything at any time.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

import msgspec
from resonate.ids import origin_of
from resonate_base import Network

from orchestrator.engine.remote.requests import beginning, request

if TYPE_CHECKING:
    from collections.abc import Sequence

_TAKE, _FENCED, _FULFILL = map(beginning, ("task.acquire", "task.fence", "task.fulfill"))

#: How many characters are kept of one run, and of all, and as how many a run counts of which nothing is kept.
_OF_ONE: Final = 1_000_000
_OF_ALL: Final = 16_000_000
_EMPTY: Final = 1000

#: How many waits are read with a task: together they take as long as two or three steps that are asked for.
_READ: Final = 16


class GroupingNetwork(Network, Protocol):
    """The SDK's network, with requests that share a statement."""

    async def send_with(
        self, req: str, reads: Sequence[str], headers: dict[str, str] | None = None
    ) -> tuple[str, list[str]]:
        """Return the reply to a request, and the replies to reads of the same lineage; none if there was trouble."""


class PreloadingNetwork:
    """A network of a worker that fills in what the engine leaves out when it gives a task."""

    def __init__(self, inner: GroupingNetwork, *, most: int = _OF_ALL) -> None:
        self._inner = inner
        self._most = most
        self._runs: OrderedDict[str, _Run] = OrderedDict()
        self._size = 0

    async def start(self) -> None:
        """Start the inner network."""
        await self._inner.start()

    async def stop(self) -> None:
        """Stop the inner network."""
        await self._inner.stop()

    async def send(self, req: str, headers: dict[str, str] | None = None) -> str:
        """Return the engine's reply to this request. Raises what the inner network raises."""
        if req.startswith(_TAKE):
            return await self._take(req, headers)

        reply = await self._inner.send(req, headers)

        if req.startswith(_FENCED):
            self._see(_task_of(req), reply)
        elif req.startswith(_FULFILL):
            self._forget(_task_of(req))

        return reply

    async def _take(self, req: str, headers: dict[str, str] | None) -> str:
        task_id = _task_of(req)
        run = self._runs.get(task_id)
        reads = [] if run is None else [request("promise.get", id=each) for each in list(run.open)[:_READ]]
        reply, read = await self._inner.send_with(req, reads, headers)

        try:
            taken = msgspec.json.decode(reply, type=_Taken)
            life = msgspec.json.decode(taken.data.promise, type=_Life)
        except msgspec.DecodeError:
            # It was refused, or is nothing that the SDK will accept.
            return reply

        # It may have been forgotten meanwhile.
        if run is None or run is not self._runs.get(task_id) or run.life != life:
            self._forget(task_id)
            self._runs[task_id] = _Run(life=life)
            self._grow(self._runs[task_id], _EMPTY)

            return reply

        self._runs.move_to_end(task_id)
        now = [found for text in read if (found := _record(text, _Read)) is not None]

        for record, raw in now:
            self._keep(task_id, record, raw)

        open_ones = [raw for record, raw in now if record.state == "pending"]
        taken.data.preload = [*run.settled.values(), *open_ones]

        return msgspec.json.encode(taken).decode()

    def _see(self, task_id: str, reply: str) -> None:
        found = _record(reply, _Fenced)

        if found is not None:
            self._keep(task_id, *found)

    def _keep(self, task_id: str, record: _Promise, raw: msgspec.Raw) -> None:
        run = self._runs.get(task_id)

        if run is None or record.id in run.settled:
            return

        size = len(bytes(raw))

        if record.state == "pending":
            # Others are steps: only the worker that has this task settles them.
            is_wait = record.tags.get("resonate:scope") == "global" and origin_of(record.id) == origin_of(task_id)

            if is_wait and record.id not in run.open:
                run.open[record.id] = None
                self._grow(run, len(record.id))

        elif run.size + size <= _OF_ONE:
            run.open.pop(record.id, None)
            run.settled[record.id] = raw.copy()
            self._grow(run, size)

    def _grow(self, run: _Run, size: int) -> None:
        run.size += size
        self._size += size

        while self._size > self._most:
            self._forget(next(iter(self._runs)))

    def _forget(self, task_id: str) -> None:
        run = self._runs.pop(task_id, None)

        if run is not None:
            self._size -= run.size


@dataclass(kw_only=True)
class _Run:
    """One life of a run: what is settled, as the engine sent it, and the waits that were seen open."""

    life: _Life
    settled: dict[str, msgspec.Raw] = field(default_factory=dict)
    open: dict[str, None] = field(default_factory=dict)
    size: int = 0


class _Life(msgspec.Struct, frozen=True):
    """What tells a run from an earlier or later one with the same id."""

    createdAt: int  # noqa: N815 - the protocol's name
    tags: dict[str, str]


class _Promise(msgspec.Struct, frozen=True):
    id: str
    state: str
    tags: dict[str, str]


class _TaskId(msgspec.Struct, frozen=True):
    id: str


class _Asked(msgspec.Struct, frozen=True):
    data: _TaskId


class _TakenData(msgspec.Struct):
    task: msgspec.Raw
    promise: msgspec.Raw
    preload: list[msgspec.Raw]


class _Taken(msgspec.Struct):
    """The reply to the taking of a task, all of it."""

    kind: msgspec.Raw
    head: msgspec.Raw
    data: _TakenData


class _ReadData(msgspec.Struct, frozen=True):
    promise: msgspec.Raw


class _Read(msgspec.Struct, frozen=True):
    """What is needed of the reply to the reading of a promise."""

    data: _ReadData

    @property
    def promise(self) -> msgspec.Raw:
        """The record as it was sent."""
        return self.data.promise


class _FencedData(msgspec.Struct, frozen=True):
    action: _Read


class _Fenced(msgspec.Struct, frozen=True):
    """What is needed of the reply to a request under a lease."""

    data: _FencedData

    @property
    def promise(self) -> msgspec.Raw:
        """The record as it was sent."""
        return self.data.action.promise


def _task_of(req: str) -> str:
    return msgspec.json.decode(req, type=_Asked).data.id


def _record(reply: str, kind: type[_Read | _Fenced]) -> tuple[_Promise, msgspec.Raw] | None:
    """Return the record in a reply with its text, None if there is none."""
    try:
        promise = msgspec.json.decode(reply, type=kind).promise

        return msgspec.json.decode(promise, type=_Promise), promise
    except msgspec.DecodeError:
        # An error, or nothing that the SDK will accept.
        return None
