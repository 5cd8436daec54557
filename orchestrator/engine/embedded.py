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
import logging
import sqlite3
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
from resonate.connections.local import (
    SCHEME,
    extract_action_data,
    unwrap_request_envelope,
    wrap_response_envelope,
)
from resonate.error import DecodingError, ServerError
from resonate.timing import now_ms, sleep
from resonate_base import ConnectorError

from orchestrator.engine.commits import Batch, GroupCommit
from orchestrator.engine.delivery import Delivery
from orchestrator.engine.housekeeping import Housekeeping
from orchestrator.engine.images import ImageError
from orchestrator.engine.journal import Journal
from orchestrator.engine.lineages import origin_of
from orchestrator.engine.state import IndexedState
from orchestrator.engine.writes import Recovered
from orchestrator.errors import EngineUnavailable, JournalUnusable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from resonate.connections.local import OutgoingMessage
    from resonate.timing import Clock, Sleeper

logger = logging.getLogger(__name__)

#: Deadlines handled before the event loop gets its turn again.
SLICE: Final = 256
#: Seconds: the shortest nap between two ticks.
RESOLUTION: Final = 0.005
#: Seconds between two slices of housekeeping while nothing else goes on.
PACE: Final = 0.02
#: Milliseconds between two looks for archived lineages whose retention is over.
SWEEP: Final = 30_000

OK: Final = 200

_encoder: Final = msgspec.json.Encoder()


class LeaseKeeper:
    """Keeps the leases of tasks that run in this process: a step may take longer than its lease, and is not repeated.

    A `resonate.heartbeat.Heartbeat` without a beat: the engine is in the same process and looks here.
    """

    def __init__(self, connection: EmbeddedConnection) -> None:
        self._running = connection.leases

    def start(self, task_id: str, task_version: int) -> None:
        """Keep the lease of a task from now on."""
        self._running[task_id] = task_version

    def stop(self, task_id: str) -> None:
        """Let the lease of a task lapse."""
        self._running.pop(task_id, None)

    def shutdown(self) -> None:
        """Let all of them lapse."""
        self._running.clear()


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
        self.state = IndexedState()
        #: Tasks that run in this process, with the version of their lease; see `LeaseKeeper`.
        self.leases: Final[dict[str, int]] = {}
        self._journal = Journal(path) if path is not None else None
        self._commits: GroupCommit | None = None
        self._housekeeping = Housekeeping(
            retention=_milliseconds(retention), transient_retention=_milliseconds(transient_retention)
        )
        self._delivery = Delivery()
        self._clock = clock
        self._sleeper = sleeper
        self._tick_interval = tick_interval
        self._at = 0
        self._opened = self._stopped = False
        self._ticking: asyncio.Task[None] | None = None
        self._alarm: asyncio.Event = asyncio.Event()
        self._wakes_at = 0
        self._swept_at = 0
        self._opening = asyncio.Lock()
        self._returning = asyncio.Lock()
        self._recovery: asyncio.Future[None] | None = None
        self._watchers: dict[str, list[asyncio.Future[None]]] = {}

    # Life

    async def open(self) -> None:
        """Take possession of the file and bring back what it holds; nothing when that has been done.

        Raises:
            EngineInUse: another process has the file.
            JournalUnusable: the file is damaged or not one of ours, and left as it was.
        """
        async with self._opening:
            if self._opened:
                return

            if self._journal is not None:
                commits = GroupCommit(self._journal, fill=self._fill, committed=self._committed, failed=self._failed)
                try:
                    recovered, state = await commits.run(partial(self._read, self._journal))
                except BaseException:
                    await commits.close()
                    raise

                self._commits = commits
                self._take(recovered, state)

            self._opened = True

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

        if self._commits is not None:
            await self._commits.close()

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

        self._alarm.set()

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

        if self._housekeeping.archived or not self._serving():
            await self._have(_named(request))

        now = self._time()
        response: dict[str, Any] = {}
        refusal: ServerError | None = None

        try:
            try:
                response = self.state.apply(now, request)
            except ServerError as error:
                refusal = error  # raised below: an expired deadline may have taken effect first

            text = _encoder.encode(wrap_response_envelope(response)).decode()
            self._note(request, response, now)
            changed = self._record(now)

        except Exception as error:  # the state machine stumbled halfway: what memory holds may be anything
            self._stumbled(error)
            raise ConnectorError(error) from error

        if self._commits is not None:
            written = self._commits.written(None if changed or refusal else _told(request, response))

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
        await self._have([promise_id])
        promise = self.state.promises.get(promise_id)
        future: asyncio.Future[None] | None

        if promise is not None and promise.state != "pending":
            future = self._commits.written([origin_of(promise_id)]) if self._commits is not None else None

            if future is None:
                return True

            await asyncio.wait((future,), timeout=seconds)
            return future.done() and future.exception() is None

        future = asyncio.get_running_loop().create_future()
        watchers = self._watchers.setdefault(promise_id, [])
        watchers.append(future)

        try:
            await asyncio.wait((future,), timeout=seconds)
        finally:
            watchers.remove(future)

            if not watchers and self._watchers.get(promise_id) is watchers:
                del self._watchers[promise_id]

        return future.done()

    # One step

    def _time(self) -> int:
        """Return the time for the next step: never before that of the last one, whatever the clock says."""
        self._at = max(self._at, self._clock())
        return self._at

    def _note(self, request: dict[str, Any], response: dict[str, Any], now: int) -> None:
        if response.get("status") != OK:
            return

        match response["kind"]:
            case "task.release":
                self._delivery.released(request["id"], now)
            case "task.suspend" | "task.fulfill":
                self._delivery.worked(request["id"])

    def _record(self, now: int) -> bool:
        """Queue what the last step changed and what it has to say. True when it changed something."""
        outgoing = self.state.take_outgoing()
        changes = self.state.take_changes()
        settled = changes.settled if changes is not None else []

        if self._commits is None:
            self._tell(outgoing, settled)
        else:
            if changes is not None:
                self._commits.add(changes.rows, now)

            if outgoing or settled:
                self._commits.announce(outgoing, settled)

        due = self.state.next_due()

        if due is not None and due < self._wakes_at:
            self._alarm.set()

        return changes is not None

    def _tell(self, messages: list[OutgoingMessage], settled: list[str]) -> None:
        self._delivery.send(messages, self.state, self._at)

        for promise_id in settled:
            for future in self._watchers.pop(promise_id, ()):
                if not future.done():
                    future.set_result(None)

    def _fill(self, batch: Batch) -> None:
        if self._commits is not None:
            self._housekeeping.fill(batch, self.state, self._commits, self._at)

    def _committed(self, batch: Batch) -> None:
        if self._commits is not None and not self._commits.lost:
            self._housekeeping.settle(batch, self.state, self._commits)

        self._tell(batch.messages, batch.settled)

    # Deadlines

    async def _run(self) -> None:
        while True:
            if self._commits is not None and self._commits.lost:
                with contextlib.suppress(ConnectorError):
                    await self._recover()
            else:
                await self._announce_pending()
                await self._sweep()

            if not self._tick():
                await self._nap()

            await asyncio.sleep(0)

    def _tick(self) -> bool:
        """Do a slice of what is due. True when there is more at once."""
        if self._commits is not None and self._commits.lost:
            return False

        now = self._time()

        try:
            self.state.tick(now, limit=SLICE, leases=self.leases)
            self._record(now)
        except Exception as error:  # noqa: BLE001 - as in `send`
            self._stumbled(error)
            return False

        self._delivery.send_due(now)

        if self._commits is None:
            self._housekeeping.drop_expired(self.state, now)
        elif self._housekeeping.pending(self.state, self._commits, now):
            self._commits.nudge()

        due = self.state.next_due()
        return due is not None and due <= now

    async def _nap(self) -> None:
        """Return at the next deadline, or when one has been set that is earlier, or after the tick interval."""
        if self._delivery.missed and self._delivery.receivers:
            return

        # The clock itself, not `_time`: were it set back, time would stand still until it has caught up.
        now = self._clock()
        times = [at for at in (self.state.next_due(), self._delivery.next_due()) if at is not None]
        seconds = min(self._tick_interval, max(RESOLUTION, (min(times) - now) / 1000)) if times else self._tick_interval

        if self._commits is not None and self._housekeeping.pending(self.state, self._commits, self._at):
            seconds = min(seconds, PACE)

        self._wakes_at = now + int(seconds * 1000)
        self._alarm.clear()
        naps = (asyncio.ensure_future(self._sleeper(seconds)), asyncio.ensure_future(self._alarm.wait()))

        try:
            await asyncio.wait(naps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for nap in naps:
                nap.cancel()

    async def _announce_pending(self) -> None:
        """Announce the tasks that nobody has taken: from before a restart, or before there was a receiver."""
        if not (self._delivery.missed and self._delivery.receivers):
            return

        missed, self._delivery.missed = list(self._delivery.missed), {}

        if self._commits is not None and (written := self._commits.written()) is not None:
            await asyncio.wait((written,))

            if written.exception() is not None:
                return  # the state that is read back brings its own

        for start in range(0, len(missed), SLICE):
            now = self._time()
            self._delivery.send(self.state.announce(missed[start : start + SLICE], now), self.state, now)
            await asyncio.sleep(0)

    async def _sweep(self) -> None:
        """Have archived lineages deleted when their retention is over."""
        now = self._time()

        if self._commits is None or self._journal is None or now - self._swept_at < SWEEP:
            return

        more = False

        for transient in (False, True):
            cutoff = now - self._housekeeping.retention[transient]
            look = partial(self._journal.expired, cutoff, transient=transient, limit=SLICE)

            with contextlib.suppress(sqlite3.Error):
                origins = await self._commits.run(look)
                self._housekeeping.drop_archived(origins, self._commits, now)
                more = more or len(origins) == SLICE

        if not more:
            self._swept_at = now

            with contextlib.suppress(sqlite3.Error):
                await self._commits.run(self._journal.shrink)

    # Recovery

    def _serving(self) -> bool:
        return self._opened and not self._stopped and (self._commits is None or not self._commits.lost)

    async def _have(self, promise_ids: list[str]) -> None:
        """Return when memory holds the truth, the lineages of these promises included, and can be acted upon at once.

        Raises:
            ConnectorError: it cannot be had.
        """
        while True:
            if not self._serving() and (self._stopped or not self._opened):
                raise ConnectorError(EngineUnavailable("the engine is not open"))

            if self._commits is not None and self._commits.lost:
                await self._recover()
                continue

            archived = self._housekeeping.archived
            missing = [origin for id_ in promise_ids if (origin := origin_of(id_)) in archived] if archived else []

            if not missing:
                return

            await self._bring_back(missing[0])

    async def _bring_back(self, origin: str) -> None:
        async with self._returning:
            if self._commits is None or self._journal is None or origin not in self._housekeeping.archived:
                return

            try:
                image = await self._commits.run(partial(self._journal.read, origin))
            except (sqlite3.Error, ImageError) as error:
                raise ConnectorError(EngineUnavailable(f"{origin} cannot be read back: {error}")) from error

            if origin in self._housekeeping.archived:  # else deleted meanwhile
                self._housekeeping.came_back(origin)

                if image is not None:
                    self.state.adopt(image, self._time(), finished_at=self._at)

    def _stumbled(self, error: Exception) -> None:
        logger.error("the engine could not finish a step; going back to what is on disk", exc_info=error)
        self.state.take_outgoing()

        if self._commits is not None:
            self._commits.lose(None, error)

    def _failed(self, error: BaseException) -> None:
        logger.error("the engine's journal cannot be written, requests are refused: %s", error)
        self._alarm.set()

    async def _recover(self) -> None:
        """Go back to what is on disk, if that can be written again. Attempts are shared by all who want one.

        Raises:
            ConnectorError: it cannot be done now.
        """
        if self._recovery is None or self._recovery.done():
            self._recovery = asyncio.ensure_future(self._reload())

        await asyncio.shield(self._recovery)

    async def _reload(self) -> None:
        if self._commits is None or self._journal is None:
            return

        try:
            recovered = await self._commits.run(self._journal.reload)
            state = await self._commits.run(partial(_rebuilt, recovered, self._at))
        except (sqlite3.Error, ImageError) as error:
            raise ConnectorError(EngineUnavailable(f"the journal cannot be used: {error}")) from error

        self._take(recovered, state)
        logger.warning("the engine's journal can be written again")

    def _read(self, journal: Journal) -> tuple[Recovered, IndexedState]:
        """Return what is in the file and the state made of it; runs on the journal's thread."""
        recovered = journal.open()

        try:
            return recovered, _rebuilt(recovered, max(recovered.at, self._clock()))
        except (KeyError, ValueError) as error:
            journal.close(checkpoint=False)
            raise JournalUnusable(f"{journal.path} is damaged: its records do not fit together") from error

    def _take(self, recovered: Recovered, state: IndexedState) -> None:
        """Go on from what is on disk. A lease is only kept for what still runs here; other tasks are given back."""
        before, self.state = self.state, state
        self._at = max(self._at, recovered.at)
        self._swept_at = self._time()
        self._housekeeping.restart(recovered.archived)
        if self._commits is not None:
            self._commits.restart(recovered)

        now = self._time()

        for task in state.tasks.values():
            runs = self.leases.get(task.id) == task.version
            old = before.tasks.get(task.id)

            if task.state == "pending" and runs and old is not None and old.state == "acquired":
                state.apply(now, {"kind": "task.acquire", "id": task.id, "pid": old.pid, "ttl": old.ttl})
            elif task.state == "acquired" and not runs:
                state.apply(now, {"kind": "task.release", "id": task.id})
                state.take_outgoing()  # announced with all the others

        self._delivery.missed = {task.id: None for task in state.tasks.values() if task.state == "pending"}
        self._record(now)
        self._alarm.set()


def _rebuilt(recovered: Recovered, now: int) -> IndexedState:
    """Return the state that the file's lineages make; takes them out of `recovered`, to hold them once."""
    state = IndexedState()

    while recovered.lineages:
        _, image = recovered.lineages.popitem()
        state.adopt(image, now)

    return state


def _named(request: Any) -> list[str]:
    """Return the ids of the promises that a request is about."""
    if not isinstance(request, dict):
        return []

    actions = request.get("actions")
    parts = [request, extract_action_data(request.get("action"))]
    parts += [extract_action_data(action) for action in actions] if isinstance(actions, list) else []
    named = [part.get(key) for part in parts if isinstance(part, dict) for key in ("id", "awaited")]
    return [id_ for id_ in named if isinstance(id_, str)]


def _told(request: dict[str, Any], response: dict[str, Any]) -> set[str] | None:
    """Return the lineages that the answer to a request without effect tells something of, None when it may be any.

    Taking a lease is such a request: nothing on disk depends on it, for leases end with the process, and whatever is
    done under it is written after everything that the answer tells.
    """
    if response.get("kind") not in {"promise.get", "promise.create", "promise.settle", "task.acquire"}:
        return None

    return {origin_of(request["id"]), *(origin_of(record["id"]) for record in response.get("preload", ()))}


def _milliseconds(time: timedelta) -> int:
    return int(time.total_seconds() * 1000)
