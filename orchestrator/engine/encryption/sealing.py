"""Payloads sealed for their place on the way to the engine, and opened on the way back.

Every request of the SDK to an engine goes through one function of its sender; `Seal` replaces that function. A payload
is bound to its promise and to its role there:

- a param is bound to the promise's id, deadline and tags. A workflow tags what it creates with a value derived from its
  own sealed param, so it accepts nothing from an earlier life of the same id;
- a value is bound to the promise's id, to the state it settles in, and to the param and the life tag of that record. A
  settlement without a value is sealed as well.

A record that does not match is passed on as rejected, with a failure that says so. Its awaiters get `StoreTampered`,
and nobody gets its content. An unsealed settlement is accepted only if the engine can have made it: at the deadline,
which the record must say has passed. Payloads of the old form are accepted only where `unbound` allows it.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

import msgspec
from resonate.types import PromiseCreateReq, PromiseSettleReq, Value

from orchestrator.engine.encryption.cipher import PayloadKeyUnknown, PayloadRefused
from orchestrator.engine.encryption.known_records import KnownRecords, KnownTask, Send, remember
from orchestrator.engine.encryption.places import (
    LIFE_TAG,
    anchor_of,
    is_below,
    param_place,
    payload_of,
    text_of,
    value_place,
)
from orchestrator.engine.encryption.record_reader import PayloadMarker, RecordReader
from orchestrator.engine.records import record_of, record_places
from orchestrator.errors import StoreTampered
from orchestrator.failures import failure_of
from orchestrator.sdk_internals import replace_send, send_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from resonate.resonate import Resonate
    from resonate.types import PromiseRecord

    from orchestrator.engine.encryption.cipher import PayloadCipher

logger = logging.getLogger(__name__)

_CONTINUED: Final = 300
_NOTHING: Final = b"null"
_EMPTY: Final = Value()

#: The requests whose reply gives a task to this process.
_TAKING: Final = frozenset({"task.acquire", "task.create"})


def seal(resonate: Resonate, cipher: PayloadCipher, marker: PayloadMarker) -> None:
    """Make this client seal and open all its payloads with the cipher.

    `marker` is the encryptor that the client was created with.
    """
    replace_send(resonate, lambda send: Seal(send, cipher, marker))


async def unsealed(resonate: Resonate, record: PromiseRecord) -> PromiseRecord:
    """Return a record that came another way than by this client's requests, with its payloads opened as theirs are.

    Raises:
        PayloadKeyUnknown: as for `Seal`.
    """
    send = send_of(resonate)

    return await send.opened(record) if isinstance(send, Seal) else record


class Seal:
    """Replaces the SDK's function for requests to an engine: seals and opens the payloads that pass through it.

    Raises, besides what the SDK's own function raises:
        PayloadKeyUnknown: a payload is under a key that is not in the list. Nothing is decided by that: the same
            request can be repeated once the key has been added.
    """

    def __init__(
        self, send: Send, cipher: PayloadCipher, marker: PayloadMarker, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._send = send
        self._cipher = cipher
        self._reader = RecordReader(cipher)
        self._marker = marker
        self._known = KnownRecords(send, cipher, key_unknown=self._log_unknown_key, clock=clock)
        self._logged: OrderedDict[str, None] = OrderedDict()

    async def __call__(self, kind: str, data: Any, *, allow_409: bool, routes_by: str | None = None) -> tuple[int, Any]:
        """Send the request sealed, and return the engine's reply with every payload opened."""
        sealed = await self._sealed(kind, data)
        status, reply = await self._send(kind, sealed, allow_409=allow_409, routes_by=routes_by)

        if kind == "task.fulfill":
            _show_own(data["action"].data.value, sealed["action"].data.value, reply)
        else:
            await self._open_all(kind, data, reply)

        if kind in {"task.fulfill", "task.release"} or (kind == "task.suspend" and status != _CONTINUED):
            self._known.drop(data["id"])

        return status, reply

    async def opened(self, record: PromiseRecord) -> PromiseRecord:
        """Return a record with its payloads opened, or as a failure, as in every reply."""
        return await self._opened(record, anchor_of(record), None, runs=False)

    # Sealing

    async def _sealed(self, kind: str, data: Any) -> Any:
        match kind:
            case "promise.create":
                return self._created(data)
            case "promise.settle":
                return self._settled(data, await self._known.anchor(data.id))
            case "task.create":
                action = data["action"]
                return data | {"action": msgspec.structs.replace(action, data=self._created(action.data))}
            case "task.fence" | "task.fulfill":
                action = data["action"]
                sealed = await self._within(await self._known.task(data["id"]), action.data)
                return data | {"action": msgspec.structs.replace(action, data=sealed)}
            case "schedule.create":
                raise TypeError("a schedule's payload cannot be bound to the promises that it will create")
            case _:
                return data

    async def _within(
        self, task: KnownTask, request: PromiseCreateReq | PromiseSettleReq
    ) -> PromiseCreateReq | PromiseSettleReq:
        if isinstance(request, PromiseCreateReq):
            return self._created(request, life=task.life)

        return self._settled(request, task.anchors.get(request.id) or await self._known.anchor(request.id))

    def _created(self, request: PromiseCreateReq, *, life: str | None = None) -> PromiseCreateReq:
        tags = request.tags if life is None else request.tags | {LIFE_TAG: life}
        param = request.param

        if param.data is not None:
            param = Value(data=self._payload(param.data, param_place(request.id, request.timeout_at, tags)))

        return msgspec.structs.replace(request, param=param, tags=tags)

    def _settled(self, request: PromiseSettleReq, anchor: str) -> PromiseSettleReq:
        place = value_place(request.id, request.state, anchor)

        data = self._payload(request.value.data, place)

        return msgspec.structs.replace(request, value=Value(headers=request.value.headers, data=data))

    def _payload(self, data: str | None, place: bytes) -> str:
        plain = _NOTHING if data is None else self._marker.decrypt(payload_of(data))

        return text_of(self._cipher.encrypt(plain, place))

    # Opening

    async def _open_all(self, kind: str, data: Any, reply: Any) -> None:
        task_id = data.get("id") if kind.startswith("task.") else None
        task = None if task_id is None else self._known.running(task_id)

        if kind in _TAKING and isinstance(reply, dict) and (root := record_of(reply.get("promise"))) is not None:
            task_id = root.id
            task = await self._known.take(root)

        for container, key in record_places(reply):
            record = record_of(container[key])

            if record is None:
                continue

            anchor = anchor_of(record)
            # The reply may include a branch of another workflow: the one whose wait this task stands for.
            own = task is not None and task_id is not None and is_below(record.id, task_id)

            if task is not None and (own or record.id == task_id):
                task.anchors[record.id] = anchor
            elif record.state == "pending" and ":" in record.id:
                self._known.saw(record.id, anchor)

            container[key] = await self._opened(record, anchor, task if own else None, runs=record.id == task_id)

    async def _opened(
        self, record: PromiseRecord, anchor: str, parent: KnownTask | None, *, runs: bool
    ) -> PromiseRecord:
        """Return the record with its payloads opened, or as a failure if it was changed."""
        state = record.state

        try:
            param, value = await self._read_in_either_form(record, anchor, parent, runs=runs)
        except PayloadRefused:
            self._log_once(record, "does not hold what was written there: the store was tampered with")
            state = "rejected"
            param = self._reader.param_of_changed(record)
            value = msgspec.json.encode(failure_of(StoreTampered(record.id)))

        return msgspec.structs.replace(record, state=state, param=self._plain(param), value=self._plain(value))

    async def _read_in_either_form(
        self, record: PromiseRecord, anchor: str, parent: KnownTask | None, *, runs: bool
    ) -> tuple[bytes | None, bytes | None]:
        old = parent is not None and parent.old
        life = None if parent is None else parent.life

        try:
            try:
                return self._reader.read(record, anchor, life, runs=runs, old=old)
            except PayloadRefused:
                if parent is not None or not await self._known.is_old(record):
                    raise

            return self._reader.read(record, anchor, life, runs=runs, old=True)

        except PayloadKeyUnknown:
            self._log_unknown_key(record)
            raise

    def _plain(self, data: bytes | None) -> Value:
        if data is None:
            return _EMPTY

        return Value(data=text_of(self._marker.encrypt(data)))

    def _log_unknown_key(self, record: PromiseRecord) -> None:
        self._log_once(record, "holds a payload under a key that is not among COUNTERSIGN_PAYLOAD_KEYS")

    def _log_once(self, record: PromiseRecord, what: str) -> None:
        """Log what is wrong with a promise, once per promise."""
        if record.id not in self._logged:
            logger.error("promise %s %s", record.id, what)
            remember(self._logged, record.id, None)


def _show_own(asked: Value, sealed: Value, reply: Any) -> None:
    """Put into the reply to `task.fulfill` the value that was asked for, if the engine recorded it, and nothing else.

    What the promise holds otherwise is of no use to the SDK, and is not opened.
    """
    for container, key in record_places(reply):
        record = record_of(container[key])

        if record is not None:
            value = asked if record.value.data == sealed.data else _EMPTY
            container[key] = msgspec.structs.replace(record, param=_EMPTY, value=value)
