"""The SDK's requests to an engine in the same process, without the envelopes and texts of a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from resonate.error import ServerError

from orchestrator.engine.embedded.state_records import as_record
from orchestrator.engine.records import record_places
from orchestrator.sdk_internals import replace_send

if TYPE_CHECKING:
    from resonate.resonate import Resonate

    from orchestrator.engine.embedded.connection import EmbeddedConnection

_CONFLICT: Final = 409
_ERROR: Final = 400

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode


def send_directly(resonate: Resonate, connection: EmbeddedConnection) -> None:
    """Make this client hand its requests to the engine itself."""
    replace_send(resonate, lambda _: DirectSend(connection))


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
