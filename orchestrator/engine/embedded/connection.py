"""The embedded durable engine: the SDK's in-process state machine, with every effect on disk before it is told.

A request is applied to memory at once, and its answer and its messages wait until what it changed is in the journal; a
request that changed nothing waits for what it could have seen. So whoever has an answer has it for good, across a
`kill -9` too. When the disk fails, callers get `ConnectorError`, nothing more is answered from memory, and the engine
goes back to what the disk holds as soon as that can be written again.

It is one process's engine: a second one is refused. It does not route: every message goes to every receiver.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec
from resonate.connections.local import SCHEME, unwrap_request_envelope, wrap_response_envelope
from resonate.error import DecodingError, ServerError
from resonate.timing import now_ms, sleep
from resonate_base import ConnectorError

from orchestrator.engine.embedded.alarm import Alarm
from orchestrator.engine.embedded.delivery import Delivery
from orchestrator.engine.embedded.durable_state import DEADLINES, DurableState
from orchestrator.engine.embedded.memory.lineages import origin_of
from orchestrator.engine.embedded.requests import told
from orchestrator.engine.embedded.retention import Housekeeping
from orchestrator.engine.embedded.settlement_waiters import Watchers
from orchestrator.engine.marks import EmbeddedMarks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from resonate.connections.local import OutgoingMessage
    from resonate.timing import Clock, Sleeper

    from orchestrator.engine.embedded.memory.state import IndexedState

#: Seconds: the shortest nap between two ticks, and that between two slices of housekeeping.
RESOLUTION: Final = 0.005
PACE: Final = 0.02

OK: Final = 200
_MS: Final = timedelta(milliseconds=1)
_encoder: Final = msgspec.json.Encoder()


class LeaseKeeper:
    """Keeps the leases of tasks that run in this process: a step may take longer than its lease, and is not repeated.

    A `resonate.heartbeat.Heartbeat` without a beat: the engine is in the same process and looks here.
    """

    def __init__(self, connection: EmbeddedConnection) -> None:
        self.active_tasks = connection.leases

    def start(self, task_id: str, task_version: int) -> None:
        """Keep the lease of a task from now on."""
        self.active_tasks[task_id] = task_version

    def stop(self, task_id: str) -> None:
        """Let the lease of a task lapse."""
        self.active_tasks.pop(task_id, None)

    def shutdown(self) -> None:
        """Let all of them lapse."""
        self.active_tasks.clear()


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
        keeping = Housekeeping(retention=retention // _MS, transient_retention=transient_retention // _MS)
        self._durable = DurableState(path, clock=clock, housekeeping=keeping, tell=self._tell, restored=self._restored)
        self._delivery = Delivery()
        self._watchers = Watchers()
        self._clock = clock
        self._tick_interval = tick_interval
        self._stopped = False
        self._ticking: asyncio.Task[None] | None = None
        self._alarm = Alarm(sleeper)

    @property
    def state(self) -> IndexedState:
        """The state in memory, which may be ahead of the disk: to look at, not to answer from."""
        return self._durable.state

    def marks(self, *, seconds: float) -> EmbeddedMarks:
        """Return the engine's marks; `seconds` bounds every look at them."""
        return EmbeddedMarks(self._durable, seconds=seconds)

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

        if self._ticking is None and not self._stopped:
            self._ticking = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Write what is queued and let go of the file; nothing when that has been done. Requests fail afterwards."""
        if self._stopped:
            return

        self._stopped = True
        self._delivery.receivers.clear()

        if self._ticking is not None:
            self._ticking.cancel()

            with contextlib.suppress(asyncio.CancelledError):
                await self._ticking

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
        self._delivery.receivers.append(callback)

        self._alarm.ring()

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
        await durable.have(request)
        now = durable.time()
        response: dict[str, Any] = {}
        refusal: ServerError | None = None

        try:
            try:
                response = durable.state.apply(now, request)
            except ServerError as error:
                refusal = error  # raised below: an expired deadline may have taken effect first

            text = _encoder.encode(wrap_response_envelope(response)).decode()
            self._note(request, response, now)
            changed = durable.record()

        except Exception as error:  # the state machine stumbled halfway: what memory holds may be anything
            durable.stumbled(error)
            raise ConnectorError(error) from error

        self._alarm.look(durable.state.next_due())
        written = durable.written(None if changed or refusal else told(request, response))

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
        await self._durable.have({"id": promise_id})
        promise = self.state.promises.get(promise_id)

        if promise is None or promise.state == "pending":
            return await self._watchers.wait(promise_id, seconds)

        written = self._durable.written([origin_of(promise_id)])

        if written is None:
            return True

        await asyncio.wait((written,), timeout=seconds)
        return written.done() and written.exception() is None

    # What there is to say

    def _note(self, request: dict[str, Any], response: dict[str, Any], now: int) -> None:
        if response.get("status") != OK:
            return

        match response["kind"]:
            case "task.release":
                self._delivery.released(request["id"], now)
            case "task.suspend" | "task.fulfill":
                self._delivery.worked(request["id"])

    def _tell(self, messages: list[OutgoingMessage], settled: list[str]) -> None:
        self._delivery.send(messages, self.state, self._durable.time())
        self._watchers.settled(settled)

    def _restored(self, task_ids: list[str]) -> None:
        self._delivery.missed = dict.fromkeys(task_ids)
        self._alarm.ring()

    async def _announce_missed(self) -> None:
        """Announce the tasks that nobody has taken: from before a restart, or before there was a receiver."""
        if not (self._delivery.missed and self._delivery.receivers):
            return

        missed, self._delivery.missed = list(self._delivery.missed), {}
        written = self._durable.written()

        if written is not None:
            await asyncio.wait((written,))

            if written.exception() is not None:
                return  # the state that is read back brings its own

        for start in range(0, len(missed), DEADLINES):
            now = self._durable.time()
            self._delivery.send(self.state.announce(missed[start : start + DEADLINES], now), self.state, now)
            await asyncio.sleep(0)

    # Deadlines

    async def _run(self) -> None:
        while True:
            try:
                await self._durable.upkeep()
                await self._announce_missed()
                more = self._durable.tick()
                self._delivery.send_due(self._durable.time())
            except Exception as error:  # noqa: BLE001 - deadlines must go on firing
                self._durable.stumbled(error)
                more = False

            if not more:
                await self._nap()

            await asyncio.sleep(0)

    async def _nap(self) -> None:
        """Return at the next deadline, or when one has been set that is earlier, or after the tick interval."""
        if self._delivery.missed and self._delivery.receivers:
            return

        # The clock itself: were it set back, the engine's time would stand still until it has caught up.
        now = self._clock()
        times = [at for at in (self.state.next_due(), self._delivery.next_due()) if at is not None]
        seconds = min(self._tick_interval, max(RESOLUTION, (min(times) - now) / 1000)) if times else self._tick_interval

        if self._durable.house_to_keep():
            seconds = min(seconds, PACE)

        await self._alarm.nap(seconds, until=now + int(seconds * 1000))
