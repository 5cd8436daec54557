"""Payloads sealed for their place on the way to the engine, and opened on the way back.

Everything the SDK asks of an engine goes through one function of its sender; the one here takes its place. A payload is
bound to its promise and to what it is there:

- a param to the promise's id, deadline and tags. A workflow marks what it creates with a tag that is derived from its
  own sealed param, so it takes nothing from an earlier life of the same id;
- a value to the promise's id, to the state it settles, and to the param and the mark of that very record. A settlement
  without a value is sealed as well.

A record that does not fit is handed on as rejected, with a failure that says so: whoever awaits it gets
`StoreTampered`, and nobody gets what it holds. Without us only the engine settles, at a deadline that the record says
is reached. Payloads of the form before this one are taken only where `unbound` says so.
"""

from __future__ import annotations

import base64
import logging
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
from resonate.error import DecodingError, ServerError
from resonate.types import PromiseCreateReq, PromiseSettleReq, Value

from orchestrator.engine.encryption.cipher import PayloadKeyUnknown, PayloadRefused
from orchestrator.engine.encryption.places import (
    LIFE_TAG,
    anchor_of,
    is_below,
    is_record,
    param_place,
    records_in,
    value_place,
)
from orchestrator.engine.encryption.record_reader import Inside, RecordReader
from orchestrator.engine.encryption.unbound import may_be_unbound, starts, unbound_param, workflow_of
from orchestrator.errors import StoreTampered
from orchestrator.failures import failure_of
from orchestrator.sdk_internals import replace_send

if TYPE_CHECKING:
    from collections.abc import Callable

    from resonate.resonate import Resonate

    from orchestrator.engine.encryption.cipher import PayloadCipher

logger = logging.getLogger(__name__)

#: For how long a record that was read says where a settlement goes, in seconds.
_FRESH: Final = 1.0

_REMEMBERED: Final = 4096
_NOT_FOUND: Final = 404
_CONTINUED: Final = 300
_NOTHING: Final = b"null"
_UNKNOWN_KEY: Final = "holds a payload under a key that is not among COUNTERSIGN_PAYLOAD_KEYS"


class _Send(Protocol):
    async def __call__(
        self, kind: str, data: Any, *, allow_409: bool, routes_by: str | None = None
    ) -> tuple[int, Any]: ...


def seal(resonate: Resonate, cipher: PayloadCipher, inside: Inside) -> None:
    """Have all that this client asks of its engine sealed and opened under the cipher.

    `inside` is what the client was given for its encryptor.
    """
    replace_send(resonate, lambda send: Seal(send, cipher, inside))


@dataclass(frozen=True, kw_only=True)
class _Task:
    """A task that runs here: the life that its promises are tied to, and whether it is of the form before this one.

    `anchors` says of each promise that the task has met what a value of it is bound to.
    """

    life: str
    old: bool
    anchors: dict[str, str]


class Seal:
    """Stands in for the SDK's way of asking an engine: seals and opens what passes.

    Raises, besides what the SDK's own raises:
        PayloadKeyUnknown: a payload under a key that is not in the list. Nothing is decided by it: the same request can
            be made again once the key is there.
    """

    def __init__(
        self, send: _Send, cipher: PayloadCipher, inside: Inside, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._send = send
        self._cipher = cipher
        self._reader = RecordReader(cipher)
        self._inside = inside
        self._clock = clock
        self._tasks: OrderedDict[str, _Task] = OrderedDict()
        self._anchors: OrderedDict[str, tuple[float, str]] = OrderedDict()
        self._told: OrderedDict[str, None] = OrderedDict()

    async def __call__(self, kind: str, data: Any, *, allow_409: bool, routes_by: str | None = None) -> tuple[int, Any]:
        """Ask the engine, and return its answer with every payload opened."""
        sealed = await self._sealed(kind, data)
        status, answer = await self._send(kind, sealed, allow_409=allow_409, routes_by=routes_by)
        await self._open_all(kind, data, answer)

        if kind in {"task.fulfill", "task.release"} or (kind == "task.suspend" and status != _CONTINUED):
            self._tasks.pop(data["id"], None)

        return status, answer

    # Sealing

    async def _sealed(self, kind: str, data: Any) -> Any:
        match kind:
            case "promise.create":
                return self._created(data)
            case "promise.settle":
                return self._settled(data, await self._anchor(data.id))
            case "task.create":
                action = data["action"]
                return data | {"action": msgspec.structs.replace(action, data=self._created(action.data))}
            case "task.fence" | "task.fulfill":
                action = data["action"]
                sealed = await self._within(await self._task(data["id"]), action.data)
                return data | {"action": msgspec.structs.replace(action, data=sealed)}
            case "schedule.create":
                raise TypeError("a schedule's payload cannot be bound to the promises that it will create")
            case _:
                return data

    async def _within(
        self, task: _Task, request: PromiseCreateReq | PromiseSettleReq
    ) -> PromiseCreateReq | PromiseSettleReq:
        if isinstance(request, PromiseCreateReq):
            return self._created(request, life=task.life)

        return self._settled(request, task.anchors.get(request.id) or await self._anchor(request.id))

    def _created(self, request: PromiseCreateReq, *, life: str | None = None) -> PromiseCreateReq:
        tags = request.tags if life is None else request.tags | {LIFE_TAG: life}
        param = request.param

        if param.data is not None:
            param = Value(data=self._payload(param.data, param_place(request.id, request.timeout_at, tags)))

        return msgspec.structs.replace(request, param=param, tags=tags)

    def _settled(self, request: PromiseSettleReq, anchor: str) -> PromiseSettleReq:
        place = value_place(request.id, request.state, anchor)

        return msgspec.structs.replace(request, value=Value(data=self._payload(request.value.data, place)))

    def _payload(self, data: str | None, place: bytes) -> str:
        plain = _NOTHING if data is None else self._inside.decrypt(base64.b64decode(data))

        return base64.b64encode(self._cipher.encrypt(plain, place)).decode("ascii")

    # What is known of records

    async def _task(self, task_id: str) -> _Task:
        task = self._tasks.get(task_id)

        return task if task is not None else await self._take(await self._fetch(task_id))

    async def _take(self, record: dict[str, Any]) -> _Task:
        """Take note of a task that this process runs, given the record of its promise as the engine has it."""
        promise_id = record["id"]
        anchor = anchor_of(record)
        task = _Task(life=anchor, old=await self._is_old(record), anchors={promise_id: anchor})
        _remember(self._tasks, promise_id, task)

        return task

    async def _anchor(self, promise_id: str) -> str:
        """Return what a value of this promise is bound to; asks the engine unless the record was read just now."""
        read_at, anchor = self._anchors.pop(promise_id, (0.0, ""))

        if anchor and self._clock() - read_at < _FRESH:
            return anchor

        return anchor_of(await self._fetch(promise_id))

    async def _fetch(self, promise_id: str) -> dict[str, Any]:
        _, answer = await self._send("promise.get", {"id": promise_id}, allow_409=False, routes_by=promise_id)

        for record in records_in(answer):
            return record

        raise DecodingError(f"the engine's answer holds no record of {promise_id}")

    async def _is_old(self, record: dict[str, Any]) -> bool:
        """Whether this promise belongs to a workflow that was started under the form before this one."""
        if not may_be_unbound(record):
            return False

        param = self._unbound_param(record)
        root_id = workflow_of(record["id"], param)

        if root_id != record["id"]:
            try:
                param = self._unbound_param(await self._fetch(root_id))
            except ServerError as error:
                if error.code == _NOT_FOUND:
                    return False

                raise

        return starts(param, root_id)

    def _unbound_param(self, record: dict[str, Any]) -> Any:
        try:
            return unbound_param(record, self._cipher)
        except PayloadKeyUnknown:
            self._tell(record, _UNKNOWN_KEY)
            raise

    # Opening

    async def _open_all(self, kind: str, data: Any, answer: Any) -> None:
        task_id = data.get("id") if kind.startswith("task.") else None
        task = None if task_id is None else self._tasks.get(task_id)

        if kind in {"task.acquire", "task.create"} and isinstance(answer, dict) and is_record(answer.get("promise")):
            task_id = answer["promise"]["id"]
            task = await self._take(answer["promise"])

        for record in records_in(answer):
            promise_id = record["id"]
            # A branch that comes along may be that of the workflow whose wait this task stands for.
            own = task is not None and task_id is not None and is_below(promise_id, task_id)

            if task is not None and (own or promise_id == task_id):
                task.anchors[promise_id] = anchor_of(record)
            elif record["state"] == "pending" and ":" in promise_id:
                _remember(self._anchors, promise_id, (self._clock(), anchor_of(record)))

            await self._open(record, parent=task if own else None, runs=promise_id == task_id)

    async def _open(self, record: dict[str, Any], *, parent: _Task | None, runs: bool) -> None:
        """Put plain payloads in the record, or make a failure of it where it does not fit."""
        try:
            param, value = await self._read_in_either_form(record, parent, runs=runs)
        except PayloadRefused:
            self._tell(record, "does not hold what was written there: the store was tampered with")
            record["state"] = "rejected"
            param = self._reader.param_of_changed(record)
            value = msgspec.json.encode(failure_of(StoreTampered(record["id"])))

        record["param"] = self._plain(param)
        record["value"] = self._plain(value)

    async def _read_in_either_form(
        self, record: dict[str, Any], parent: _Task | None, *, runs: bool
    ) -> tuple[bytes | None, bytes | None]:
        old = parent is not None and parent.old
        life = None if parent is None else parent.life

        try:
            try:
                return self._reader.read(record, life, runs=runs, old=old)
            except PayloadRefused:
                if parent is not None or not await self._is_old(record):
                    raise

            return self._reader.read(record, life, runs=runs, old=True)

        except PayloadKeyUnknown:
            self._tell(record, _UNKNOWN_KEY)
            raise

    def _plain(self, data: bytes | None) -> dict[str, str]:
        return {} if data is None else {"data": base64.b64encode(self._inside.encrypt(data)).decode("ascii")}

    def _tell(self, record: dict[str, Any], what: str) -> None:
        """Log what is wrong with a promise, once."""
        if record["id"] not in self._told:
            logger.error("promise %s %s", record["id"], what)
            _remember(self._told, record["id"], None)


def _remember[T](memory: OrderedDict[str, T], key: str, value: T) -> None:
    memory[key] = value
    memory.move_to_end(key)

    if len(memory) > _REMEMBERED:
        memory.popitem(last=False)
