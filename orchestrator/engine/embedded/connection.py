"""The embedded durable engine: the SDK's in-process state machine, with every effect on disk before it is reported.

A request is applied to memory at once. Its reply and its messages wait until the changes are in the journal; a request
that changed nothing waits for the changes that it could have seen. So every reply is permanent, across a `kill -9` too.
When the disk fails, callers get `ConnectorError` and no reply comes from memory any more. As soon as the disk can be
written again, the engine goes back to what it holds.

The engine belongs to one process: a second process is refused. It does not route: every message goes to every receiver.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec
from resonate.connections.local import SCHEME, unwrap_request_envelope, wrap_response_envelope
from resonate.error import DecodingError, ServerError
from resonate.timing import now_ms, sleep
from resonate_base import ConnectorError

from orchestrator.engine.embedded.delivery import MessageDelivery
from orchestrator.engine.embedded.durable_state import DurableState
from orchestrator.engine.embedded.marks import FileMarks, MemoryMarks
from orchestrator.engine.embedded.memory.lineages import expired_roots, origin_of
from orchestrator.engine.embedded.requests import lineages_in_reply
from orchestrator.engine.embedded.retention import Retention
from orchestrator.engine.embedded.search import EmbeddedSearch
from orchestrator.engine.embedded.settlement_waiters import SettlementWaiters
from orchestrator.engine.embedded.state_records import as_record
from orchestrator.engine.embedded.ticker import RESOLUTION, Ticker
from orchestrator.engine.open_waits import OpenWaits
from orchestrator.engine.tasks import TaskState

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from resonate.connections.local import OutgoingMessage
    from resonate.timing import Clock, Sleeper
    from resonate.types import PromiseRecord

    from orchestrator.engine.embedded.disk.journal import Journal
    from orchestrator.engine.embedded.memory.state import IndexedState

OK: Final = 200
_MS: Final = timedelta(milliseconds=1)
_encoder: Final = msgspec.json.Encoder()


class EmbeddedConnection:
    """An SDK connection (`Network` and `Source`) to an engine in this process, kept in the file at `path`.

    Instead of a path it takes a journal. Without either nothing is stored; that is for tests. `clock` returns
    milliseconds, the other times are in seconds. Deadlines fire when they are due, to within `resolution`, and the
    clock is read at least once per `tick_interval`. A finished lineage is deleted after `retention`, or after
    `transient_retention` if its root is tagged `countersign:transient`.
    """

    def __init__(  # noqa: PLR0913 - all but the first are seams with a default
        self,
        path: Path | Journal | None,
        *,
        clock: Clock = now_ms,
        sleeper: Sleeper = sleep,
        tick_interval: float = 1.0,
        resolution: float = RESOLUTION,
        retention: timedelta = timedelta(days=7),
        transient_retention: timedelta = timedelta(hours=1),
    ) -> None:
        self._path = path
        self._durable = DurableState(
            path,
            clock=clock,
            retention=Retention(ordinary=retention // _MS, transient=transient_retention // _MS),
            publish=self._publish,
            restored=self._restored,
        )
        self._delivery = MessageDelivery()
        #: Who waits in this process for a promise to be settled.
        self.waiters: Final = SettlementWaiters(self._durable)
        self._ticker = Ticker(
            self._durable, self._delivery, clock=clock, sleeper=sleeper, interval=tick_interval, resolution=resolution
        )
        self._expired: Callable[[PromiseRecord], None] | None = None
        self._reloaded: Callable[[], None] | None = None
        self._stopped = False

    @property
    def state(self) -> IndexedState:
        """The state in memory, which may be ahead of the disk: never reply to a request from it."""
        return self._durable.state

    def marks(self, *, seconds: float) -> FileMarks | MemoryMarks:
        """Return the engine's marks; `seconds` bounds every call on them."""
        return MemoryMarks() if self._path is None else FileMarks(self._durable, seconds=seconds)

    def search(self, *, seconds: float) -> EmbeddedSearch:
        """Return what searches this engine; `seconds` bounds every search."""
        return EmbeddedSearch(self._durable, seconds=seconds)

    @property
    def leases(self) -> dict[str, int]:
        """The tasks that run in this process, with the version of their lease; see `LeaseKeeper`."""
        return self._durable.leases

    async def open_waits(self) -> OpenWaits:
        """Return how many waits are open now."""
        count, oldest_at = self.state.catalogue.open_waits()

        return OpenWaits(count=count, oldest_at=oldest_at)

    def watch_expired(self, watch: Callable[[PromiseRecord], None]) -> None:
        """Call `watch` with the root of each workflow that ends at its own timeout, once that is on disk."""
        self._expired = watch

    def watch_reloads(self, watch: Callable[[], None]) -> None:
        """Call `watch` when the engine has gone back to what is on disk."""
        self._reloaded = watch

    # Life

    async def open(self) -> None:
        """Lock the file and load what it holds. A second call does nothing.

        Raises:
            EngineInUse: another process has the file.
            JournalUnusable: the file is damaged or not an engine file. It is left as it was.
        """
        await self._durable.open()

    async def start(self) -> None:
        """Start firing deadlines and delivering messages, undelivered ones first. Opens the file if it is not open."""
        await self.open()

        if not self._stopped:
            self._ticker.start()

    async def stop(self) -> None:
        """Write what is queued and close the file. A second call does nothing. Requests fail afterwards."""
        if self._stopped:
            return

        self._stopped = True
        self._delivery.remove_receivers()
        await self._ticker.stop()
        await self._durable.close()

    def wake(self) -> None:
        """Do what is due by now at once: somebody has moved the clock."""
        self._ticker.wake()

    # The SDK's two protocols

    def unicast(self) -> str:
        """Return the address of this process."""
        return f"{SCHEME}://uni@default/default"

    def resolve_target(self, target: str) -> str:
        """Return the address of a worker group."""
        return f"{SCHEME}://any@{target}"

    def recv(self, callback: Callable[[str], None]) -> None:
        """Deliver messages to this callback too, including the tasks that are still undelivered."""
        self._delivery.add_receiver(callback)
        self._ticker.wake()

    async def send(self, req: str, headers: dict[str, str] | None = None) -> str:  # noqa: ARG002 - one partition
        """Apply a request and return the reply as text; see `ask`.

        Raises:
            ServerError, DecodingError: the request is invalid.
            ConnectorError: as for `ask`.
        """
        try:
            request = unwrap_request_envelope(msgspec.json.decode(req))
        except msgspec.DecodeError as error:
            raise DecodingError(f"invalid JSON request: {error}") from error

        return _encoder.encode(wrap_response_envelope(await self.ask(request))).decode()

    async def ask(self, request: Any) -> dict[str, Any]:
        """Apply a flat request and return the flat reply, once everything that the reply reports is on disk.

        The reply belongs to the caller, except the tags in its records.

        Raises:
            ServerError: the request is invalid.
            ConnectorError: it is unknown whether the request has had an effect, or will have one; retrying is safe.
        """
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

            self._note_progress(request, response, now)
            changed = durable.record()

        except Exception as error:  # the state machine failed halfway: memory may be half changed
            durable.step_failed(error)
            raise ConnectorError(error) from error

        self._ticker.step_done()
        written = durable.written(None if changed or refusal else lineages_in_reply(request, response))

        if written is not None:
            await written

        if refusal is not None:
            raise refusal

        return response

    def at_hand(self, promise_id: str) -> PromiseRecord | None:
        """Return a record that can be reported at once, payloads as stored; None if that takes a request.

        A record that waits for the disk does, and so does one whose deadline has passed.
        """
        if not self._durable.is_written(origin_of(promise_id)):
            return None

        promise = self.state.promises.get(promise_id)

        if promise is None or (promise.state == "pending" and promise.timeout_at <= self._durable.time()):
            return None

        record: PromiseRecord = as_record(promise.to_record())

        return record

    def held(self, task_id: str) -> TaskState | None:
        """Return how a task stands in memory, None if there is no such task."""
        task = self.state.tasks.get(task_id)

        return None if task is None else TaskState(task.state, task.version)

    # Waiting

    async def wait_settled(self, promise_id: str, seconds: float) -> bool:
        """Wait at most so many seconds; return whether the promise is settled on disk. Leaves nothing behind.

        Raises:
            ConnectorError: the engine is unavailable.
        """
        return await self.waiters.wait(promise_id, seconds)

    # Progress and messages

    def _note_progress(self, request: dict[str, Any], response: dict[str, Any], now: int) -> None:
        if response.get("status") != OK:
            return

        match response["kind"]:
            case "task.release":
                self._delivery.released(request["id"], now)
            case "task.suspend" | "task.fulfill":
                self._delivery.progressed(request["id"])

    def _publish(self, messages: list[OutgoingMessage], settled: list[str]) -> None:
        self._delivery.send(messages, self.state, self._durable.time())
        self.waiters.settled(settled)

        if self._expired is not None:
            for root in expired_roots(self.state.promises, settled):
                self._expired(root)

    def _restored(self, task_ids: list[str]) -> None:
        self._delivery.restart(task_ids)
        self._ticker.wake()

        if self._reloaded is not None:
            self._reloaded()
