"""The embedded durable engine: the SDK's in-process state machine, with every effect on disk before it is told.

A request is applied to memory at once, and its answer and its messages wait until what it changed is in the journal; a
request that changed nothing waits for what it could have seen. So whoever has an answer has it for good, across a
`kill -9` too. When the disk fails, callers get `ConnectorError`, nothing more is answered from memory, and the engine
goes back to what the disk holds as soon as that can be written again.

It is one process's engine: a second one is refused. It does not route: every message goes to every receiver.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec
from resonate.connections.local import SCHEME, unwrap_request_envelope, wrap_response_envelope
from resonate.error import DecodingError, ServerError
from resonate.timing import now_ms, sleep
from resonate_base import ConnectorError

from orchestrator.engine.embedded.delivery import Delivery
from orchestrator.engine.embedded.durable_state import DurableState
from orchestrator.engine.embedded.marks import FileMarks, MemoryMarks
from orchestrator.engine.embedded.memory.lineages import origin_of
from orchestrator.engine.embedded.requests import lineages_in_reply
from orchestrator.engine.embedded.retention import Retention
from orchestrator.engine.embedded.settlement_waiters import SettlementWaiters
from orchestrator.engine.embedded.ticker import Ticker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from resonate.connections.local import OutgoingMessage
    from resonate.timing import Clock, Sleeper

    from orchestrator.engine.embedded.memory.state import IndexedState

OK: Final = 200
_MS: Final = timedelta(milliseconds=1)
_encoder: Final = msgspec.json.Encoder()


class EmbeddedConnection:
    """An SDK connection (`Network` and `Source`) to an engine in this process, kept in the file at `path`.

    Without a path nothing is kept: for tests. `clock` gives milliseconds, `sleeper` and `tick_interval` take seconds;
    deadlines fire at their time, and at `tick_interval` the clock is looked at in any case. What is over is deleted
    after `retention`, lineages whose root is tagged `countersign:transient` after `transient_retention`.
    """

    def __init__(  # noqa: PLR0913 - all but the first are seams with a default
        self,
        path: Path | None,
        *,
        clock: Clock = now_ms,
        sleeper: Sleeper = sleep,
        tick_interval: float = 1.0,
        retention: timedelta = timedelta(days=7),
        transient_retention: timedelta = timedelta(hours=1),
    ) -> None:
        self._path = path
        self._durable = DurableState(
            path,
            clock=clock,
            retention=Retention(ordinary=retention // _MS, transient=transient_retention // _MS),
            tell=self._tell,
            restored=self._restored,
        )
        self._delivery = Delivery()
        self._waiters = SettlementWaiters()
        self._ticker = Ticker(self._durable, self._delivery, clock=clock, sleeper=sleeper, interval=tick_interval)
        self._stopped = False

    @property
    def state(self) -> IndexedState:
        """The state in memory, which may be ahead of the disk: to look at, not to answer from."""
        return self._durable.state

    def marks(self, *, seconds: float) -> FileMarks | MemoryMarks:
        """Return the engine's marks; `seconds` bounds every look at them."""
        return MemoryMarks() if self._path is None else FileMarks(self._durable, seconds=seconds)

    @property
    def leases(self) -> dict[str, int]:
        """Tasks that run in this process, with the version of their lease; see `LeaseKeeper`."""
        return self._durable.leases

    # Life

    async def open(self) -> None:
        """Take possession of the file and bring back what it holds; nothing when that has been done.

        Raises:
            EngineInUse: another process has the file.
            JournalUnusable: the file is damaged or not one of ours, and left as it was.
        """
        await self._durable.open()

    async def start(self) -> None:
        """Begin to fire deadlines and to deliver, first what was left undelivered; opens the file if need be."""
        await self.open()

        if not self._stopped:
            self._ticker.start()

    async def stop(self) -> None:
        """Write what is queued and let go of the file; nothing when that has been done. Requests fail afterwards."""
        if self._stopped:
            return

        self._stopped = True
        self._delivery.remove_receivers()
        await self._ticker.stop()
        await self._durable.close()

    # The SDK's two protocols

    def unicast(self) -> str:
        """Return an address of this process."""
        return f"{SCHEME}://uni@default/default"

    def resolve_target(self, target: str) -> str:
        """Return the address of a worker group."""
        return f"{SCHEME}://any@{target}"

    def recv(self, callback: Callable[[str], None]) -> None:
        """Deliver to this callback too, undelivered tasks included."""
        self._delivery.add_receiver(callback)
        self._ticker.wake()

    async def send(self, req: str, headers: dict[str, str] | None = None) -> str:  # noqa: ARG002 - one partition
        """Apply a request and return the answer, once all that it tells is on disk.

        Raises:
            ServerError, DecodingError: the request is not one.
            ConnectorError: it is unknown whether the request has had an effect, or will; asking again is safe.
        """
        try:
            request = unwrap_request_envelope(msgspec.json.decode(req))
        except msgspec.DecodeError as error:
            raise DecodingError(f"invalid JSON request: {error}") from error

        durable = self._durable
        await durable.ready_for(request)
        now = durable.time()
        response: dict[str, Any] = {}
        refusal: ServerError | None = None

        try:
            try:
                response = durable.state.apply(now, request)
            except ServerError as error:
                refusal = error  # raised below: an expired deadline may have taken effect first

            text = _encoder.encode(wrap_response_envelope(response)).decode()
            self._note_progress(request, response, now)
            changed = durable.record()

        except Exception as error:  # the state machine stumbled halfway: what memory holds may be anything
            durable.step_failed(error)
            raise ConnectorError(error) from error

        self._ticker.step_done()
        written = durable.written(None if changed or refusal else lineages_in_reply(request, response))

        if written is not None:
            await written

        if refusal is not None:
            raise refusal

        return text

    # Waiting

    async def wait_settled(self, promise_id: str, seconds: float) -> bool:
        """Return whether a promise is settled, on disk, within so many seconds. Leaves nothing behind.

        Raises:
            ConnectorError: the engine is not there.
        """
        await self._durable.ready_for({"id": promise_id})
        promise = self.state.promises.get(promise_id)

        if promise is None or promise.state == "pending":
            return await self._waiters.wait(promise_id, seconds)

        written = self._durable.written([origin_of(promise_id)])

        if written is None:
            return True

        await asyncio.wait((written,), timeout=seconds)
        return written.done() and written.exception() is None

    # What there is to say

    def _note_progress(self, request: dict[str, Any], response: dict[str, Any], now: int) -> None:
        if response.get("status") != OK:
            return

        match response["kind"]:
            case "task.release":
                self._delivery.released(request["id"], now)
            case "task.suspend" | "task.fulfill":
                self._delivery.progressed(request["id"])

    def _tell(self, messages: list[OutgoingMessage], settled: list[str]) -> None:
        self._delivery.send(messages, self.state, self._durable.time())
        self._waiters.settled(settled)

    def _restored(self, task_ids: list[str]) -> None:
        self._delivery.restart(task_ids)
        self._ticker.wake()
