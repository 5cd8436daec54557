"""The SDK's requests to an engine in the same process, without the envelopes and texts of a network.

Two things are replaced: how every request is sent, and how the replies to the most frequent ones are read. Records come
in the SDK's type, so those replies are not converted once more. Payloads are sealed in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from resonate.error import DecodingError, ServerError
from resonate.observability import Dropped
from resonate.types import PromiseRecord, TaskRecord

from orchestrator.engine.embedded.state_records import as_record
from orchestrator.engine.records import record_places
from orchestrator.engine.sdk_events import observe
from orchestrator.sdk_internals import omit_request_ids, replace_send, send_of

if TYPE_CHECKING:
    from resonate.resonate import Resonate
    from resonate.types import PromiseCreateReq, PromiseSettleReq

    from orchestrator.engine.embedded.connection import EmbeddedConnection

_CONFLICT: Final = 409
_ERROR: Final = 400

#: The methods of the SDK's sender whose replies are read here.
_READ_DIRECTLY: Final = (
    *("promise_get", "promise_create", "promise_settle"),
    *("task_acquire", "task_fence_create", "task_fence_settle", "task_fulfill"),
)

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode


def send_directly(resonate: Resonate, connection: EmbeddedConnection) -> None:
    """Make this client hand its requests to the engine itself."""
    replace_send(resonate, lambda _: DirectSend(connection))
    omit_request_ids(resonate)
    direct, sender = _DirectReplies(resonate), resonate.promises.sender

    for name in _READ_DIRECTLY:
        setattr(sender, name, getattr(direct, name))


class DirectSend:
    """Replaces the SDK's function for requests to an engine, with the same replies and errors."""

    def __init__(self, connection: EmbeddedConnection) -> None:
        self._connection = connection

    async def __call__(
        self,
        kind: str,
        data: Any,
        *,
        allow_409: bool,
        routes_by: str | None = None,  # noqa: ARG002 - one partition
    ) -> tuple[int, Any]:
        """Apply the request, and return the status and the data of the reply; both sides own what they get.

        Raises:
            ServerError: the engine refused the request.
            ConnectorError: as for `EmbeddedConnection.ask`.
            ValueError: text in the request cannot be written as UTF-8.
        """
        request = _decode(_encode(data))
        request["kind"] = kind
        reply = await self._connection.ask(request)
        status = reply.pop("status")
        del reply["kind"], reply["corrId"]

        for container, key in record_places(reply):
            container[key] = as_record(container[key])

        if status >= _ERROR and not (allow_409 and status == _CONFLICT):
            raise ServerError(status, reply.get("error", f"server error (status {status})"))

        return status, reply


class _Action(msgspec.Struct, frozen=True, kw_only=True):
    """A request within a request, as the SDK's own without what a network needs."""

    kind: str
    data: Any


class _Taken(msgspec.Struct, frozen=True, kw_only=True):
    """A task that was taken, its promise, and the others of its branch."""

    task: TaskRecord
    promise: PromiseRecord
    preload: list[PromiseRecord]


class _Fenced(msgspec.Struct, frozen=True, kw_only=True):
    """A promise that was created or settled under a lease, and the others of its branch."""

    promise: PromiseRecord
    preload: list[PromiseRecord]


class _DirectReplies:
    """Methods of the SDK's sender, with the same results and errors."""

    def __init__(self, resonate: Resonate) -> None:
        self._resonate = resonate

    async def promise_get(self, id: str) -> PromiseRecord:  # noqa: A002 - the SDK's name
        return await self._promise("promise.get", {"id": id}, id)

    async def promise_create(self, req: PromiseCreateReq) -> PromiseRecord:
        return await self._promise("promise.create", req, req.id)

    async def promise_settle(self, req: PromiseSettleReq) -> PromiseRecord:
        return await self._promise("promise.settle", req, req.id)

    async def task_fulfill(self, id: str, version: int, action: PromiseSettleReq) -> PromiseRecord:  # noqa: A002 - as above
        data = {"id": id, "version": version, "action": _Action(kind="promise.settle", data=action)}

        return await self._promise("task.fulfill", data, id)

    async def task_acquire(self, id: str, version: int, pid: str, ttl: int) -> _Taken:  # noqa: A002 - as above
        data = {"id": id, "version": version, "pid": pid, "ttl": ttl}
        _, reply = await send_of(self._resonate)("task.acquire", data, allow_409=False, routes_by=id)
        task = msgspec.convert(reply["task"], TaskRecord)

        return _Taken(task=task, promise=_record(reply, id), preload=_records(reply["preload"]))

    async def task_fence_create(self, id: str, version: int, req: PromiseCreateReq) -> _Fenced:  # noqa: A002 - as above
        return await self._fenced(id, version, "promise.create", req)

    async def task_fence_settle(self, id: str, version: int, req: PromiseSettleReq) -> _Fenced:  # noqa: A002 - as above
        return await self._fenced(id, version, "promise.settle", req)

    async def _fenced(self, task_id: str, version: int, kind: str, req: PromiseCreateReq | PromiseSettleReq) -> _Fenced:
        data = {"id": task_id, "version": version, "action": _Action(kind=kind, data=req)}
        _, reply = await send_of(self._resonate)("task.fence", data, allow_409=False, routes_by=task_id)
        promise = _record(reply["action"]["data"], req.id)

        return _Fenced(promise=promise, preload=_records(reply["preload"]))

    async def _promise(self, kind: str, data: Any, promise_id: str) -> PromiseRecord:
        _, reply = await send_of(self._resonate)(kind, data, allow_409=False, routes_by=promise_id)

        return _record(reply, promise_id)


def _record(holder: Any, promise_id: str) -> PromiseRecord:
    record = holder["promise"]

    if not isinstance(record, PromiseRecord):
        raise DecodingError(f"the engine does not hold a valid record of {promise_id}")

    return record


def _records(found: list[Any]) -> list[PromiseRecord]:
    """Return those that are valid. The others are reported, as by the SDK, and asked for again when they are needed."""
    for each in found:
        if not isinstance(each, PromiseRecord):
            observe(Dropped(what="preload-record", id=str(each.get("id", "")), cause="decoding error"))

    return [each for each in found if isinstance(each, PromiseRecord)]
