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
from orchestrator.engine.journal import Journal, Recovered
from orchestrator.engine.state import IndexedState, origin_of
from orchestrator.errors import EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from resonate.timing import Clock, Sleeper

    from orchestrator.engine.images import LineageImage

logger = logging.getLogger(__name__)

#: Deadlines handled before the event loop gets its turn again.
SLICE: Final = 256
#: Seconds: the shortest nap between two ticks.
RESOLUTION: Final = 0.005
#: Milliseconds between two looks for archived lineages whose retention is over.
SWEEP: Final = 30_000

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
        self._recovering = asyncio.Lock()
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
                commits = GroupCommit(
                    self._journal, fill=self._fill, committed=self._committed, failed=self._state_lost
                )
                try:
                    recovered, state = await commits.run(self._read)
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

        if self._ticking is not None:
            self._announce_pending()

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

        if self._housekeeping.archived:
            await self._bring_back(_named(request))

        await self._ready()
        now = self._time()

        try:
            response = self.state.apply(now, request)
            text = _encoder.encode(wrap_response_envelope(response)).decode()

        except ServerError:
            await self._told(self._record(now), None)
            raise
        except Exception as error:  # the state machine stumbled halfway: what it holds may be anything
            self._stumbled(error)
            raise ConnectorError(error) from error

        await self._told(self._record(now, request, response), (request, response))
        return text

    # Waiting

    async def wait_settled(self, promise_id: str, timeout: float) -> bool:  # noqa: ASYNC109 - a question, not a limit
        """Return whether a promise is settled, on disk, within `timeout` seconds. Leaves nothing behind.

        Raises:
            ConnectorError: the engine is not there.
        """
        if self._housekeeping.archived:
            await self._bring_back([promise_id])

        await self._ready()
        promise = self.state.promises.get(promise_id)

        if promise is not None and promise.state != "pending":
            written = self._commits.written([origin_of(promise_id)]) if self._commits is not None else None

            if written is None:
                return True

            await asyncio.wait((written,), timeout=timeout)
            return written.done() and written.exception() is None

        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        watchers = self._watchers.setdefault(promise_id, [])
        watchers.append(future)

        try:
            await asyncio.wait((future,), timeout=timeout)
        finally:
            watchers.remove(future)

            if not watchers and self._watchers.get(promise_id) is watchers:
                del self._watchers[promise_id]

        return future.done()
