"""The SDK's requests to an engine in the same process, without the envelopes and texts of a network.

Two things are replaced: how every request is sent, and how the replies to the most frequent ones are read. Records come
in the SDK's type, so those replies are not converted once more. Payloads are sealed in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from resonate.error import DecodingError, ServerError
from resonate.types import PromiseRecord

from orchestrator.engine.embedded.state_records import as_record
from orchestrator.engine.records import record_places
from orchestrator.sdk_internals import omit_request_ids, replace_send, send_of

if TYPE_CHECKING:
    from resonate.resonate import Resonate
    from resonate.types import PromiseCreateReq, PromiseSettleReq

    from orchestrator.engine.embedded.connection import EmbeddedConnection

_CONFLICT: Final = 409
_ERROR: Final = 400

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode


def send_directly(resonate: Resonate, connection: EmbeddedConnection) -> None:
    """Make this client hand its requests to the engine itself."""
    replace_send(resonate, lambda _: DirectSend(connection))
    omit_request_ids(resonate)
    direct, sender = _DirectReplies(resonate), resonate.promises.sender

    for name in ("promise_get", "promise_create", "promise_settle", "task_fulfill"):
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

    async def _promise(self, kind: str, data: Any, promise_id: str) -> PromiseRecord:
        _, reply = await send_of(self._resonate)(kind, data, allow_409=False, routes_by=promise_id)
        record = reply["promise"]

        if not isinstance(record, PromiseRecord):
            raise DecodingError(f"the engine does not hold a valid record of {promise_id}")

        return record
