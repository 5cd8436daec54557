"""One life of the process in a trial: the engine, its worker and its dependencies, from a start to a crash.

A crash cancels every task of the process, and nothing that they do from then on is recorded. That is gentler than
`kill -9` in one way: a `finally` in a step still runs. Dependencies are closed, so that a test leaks nothing.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from orchestrator.engine.connecting import embedded_engine
from orchestrator.engine.embedded.connection import EmbeddedConnection
from orchestrator.engine.process_time import ProcessTime
from orchestrator.runs.end_log import CrashWatch
from orchestrator.testing.trial.at_rest import busy_task
from orchestrator.testing.trial.memory_journal import MemoryJournal
from orchestrator.testing.trial.surroundings import NoNetwork
from orchestrator.testing.trial.tracking import Members
from orchestrator.web.pages import Pages
from orchestrator.worker import dependencies_opened, prepare_worker

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Coroutine

    from orchestrator.engine import Engine
    from orchestrator.testing.trial.hand_clock import HandClock
    from orchestrator.testing.trial.memory_journal import CrashPlan
    from orchestrator.testing.trial.surroundings import Surroundings

#: The engine looks at its clock when a deadline is due, and at least so often, in seconds of the trial.
_TICK: Final = 1e9

#: The shortest time in which the engine looks at its clock again, in seconds: as fine as the clock.
_RESOLUTION: Final = 0.001

#: Seconds of real time that a dead process's threads get to end.
_BURIAL: Final = 5.0


class Life:
    """A process, until it dies."""

    def __init__(
        self, surroundings: Surroundings, clock: HandClock, database: sqlite3.Connection, plan: CrashPlan
    ) -> None:
        self._surroundings = surroundings
        self._clock = clock
        self._journal = MemoryJournal(database, plan, self.die)
        self._members = Members()
        self._end = asyncio.Event()
        self._ready: asyncio.Future[Engine] = asyncio.get_running_loop().create_future()
        self._connection: EmbeddedConnection | None = None
        self._main: asyncio.Task[None] | None = None
        self.dead = False

    async def start(self) -> None:
        """Return once the process works, or has died.

        Raises: what starting it raises.
        """
        self._main = self._members.spawn(self._run())
        either: set[asyncio.Future[Any]] = {self._main, self._ready}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)

        if self._main.done() and not self._main.cancelled():
            self._main.result()

    @property
    def engine(self) -> Engine:
        """The engine of the process, which has started."""
        return self._ready.result()

    def spawn[T](self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Do this work in the process, so that it ends with it."""
        return self._members.spawn(work)

    def busy(self) -> asyncio.Task[Any] | None:
        """Return a task of the process that may go on by itself, None if all of them are at rest."""
        return busy_task(self._members.unfinished(), self._clock.is_nap, ours=self._members.own)

    def wake(self) -> None:
        """Let the engine do what is due, to the millisecond. By itself it looks a few milliseconds later."""
        if self._connection is not None:
            self._connection.wake()

    def die(self) -> None:
        """End the process where it is. Nothing it does from now on is recorded."""
        if not self.dead:
            self.dead = True
            self._journal.end()

            for task in self._members.unfinished():
                task.cancel()

    async def buried(self) -> None:
        """Return when nothing of the dead process runs any more, or after a few seconds."""
        tasks = self._members.unfinished()

        if tasks:
            await asyncio.wait(tasks, timeout=_BURIAL)

        self._members.close()

    async def _run(self) -> None:
        surroundings, clock = self._surroundings, self._clock
        connection = EmbeddedConnection(
            self._journal, clock=clock, sleeper=clock.sleep, tick_interval=_TICK, resolution=_RESOLUTION
        )
        await connection.open()
        self._connection = connection
        engine = await embedded_engine(
            surroundings.settings,
            connection,
            clock=clock,
            sleeper=clock.sleep,
            process_time=ProcessTime(seconds=clock.seconds, later=clock.call_later),
        )
        prepare_worker(
            engine,
            surroundings.settings,
            surroundings.workflows.values(),
            databricks=surroundings.databricks(),
            mailer=surroundings.mailer(clock.seconds),
            pages=Pages(transport=NoNetwork(), clock=clock.seconds),
            signer=surroundings.signer,
            crashes=CrashWatch(surroundings.note_crash),
        )

        async with dependencies_opened(
            engine, surroundings.workflows.values(), given=surroundings.objects, instead=surroundings.factories
        ):
            engine.start()
            self._ready.set_result(engine)
            await self._end.wait()
