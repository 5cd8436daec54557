"""One group of changes on its way to disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resonate_base import ConnectorError

from orchestrator.engine.embedded.disk.writes import Writes

if TYPE_CHECKING:
    import asyncio

    from resonate.connections.local import OutgoingMessage


class Batch:
    """What is written to disk together, the futures that wait for it, and the messages to send once it is written."""

    __slots__ = ("archived", "messages", "settled", "waiting", "writes")

    def __init__(self) -> None:
        self.writes = Writes()
        self.messages: list[OutgoingMessage] = []
        #: The promises that it settles.
        self.settled: list[str] = []
        #: Lineages that may leave memory.
        self.archived: list[str] = []
        self.waiting: list[asyncio.Future[None]] = []

    def done(self, error: Exception | None = None) -> None:
        """Complete every waiting future, with `ConnectorError` when there is an error."""
        for future in self.waiting:
            if not future.done():
                if error is None:
                    future.set_result(None)
                else:
                    future.set_exception(ConnectorError(error))

        self.waiting.clear()
