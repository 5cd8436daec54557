"""Messages from a database: tasks for a worker, and the ends of promises that somebody waits for.

The schema keeps them in an outbox with an address for each, and notifies a channel of the address. So a process listens
on the channels of its own addresses, and claims what there is when it hears something. It also looks now and then by
itself, in case it was not listening when there was news.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from typing import TYPE_CHECKING, Final, Protocol

import msgspec
from resonate.connections.sse import resolve_target, unicast
from resonate.ids import origin_of
from resonate_base import ORIGIN_HEADER, ConnectorError

from orchestrator.engine.remote.requests import request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    type _Send = Callable[[str, dict[str, str]], Awaitable[str]]

logger = logging.getLogger(__name__)

#: Seconds between two looks by itself, while it listens and while it does not.
_LISTENING: Final = 1.0
_DEAF: Final = 0.25

#: The same for a process that takes no tasks: only the ends of promises that it waits for can be missed.
_SENDER: Final = 15.0

#: Seconds between two checks for due sleeps, deadlines and leases.
_TICK: Final = 0.25

_FIRST_PAUSE: Final = 0.2
_SLOWEST: Final = 5.0


class Database(Protocol):
    """Where the messages are. What is lost on the way to a caller raises ConnectorError."""

    def claim(self, address: str, *, group: Sequence[str]) -> AsyncIterator[str]:
        """Yield the messages to this address, and those to the group's addresses, until there are no more."""

    def news(self, *addresses: str) -> AsyncIterator[None]:
        """Yield once the database will tell of every message to these addresses, and then whenever it does."""

    async def fire_timers(self) -> bool:
        """Do what is due in the database; return whether this user may."""


class Outbox:
    """How a process gets its messages: an SDK `Source` over a database, and `wait_settled` for the ends of promises.

    A process that works gets the tasks of its group and drives the timers, unless its database user may not: then
    pg_cron drives them, as resonate-pg sets it up. A process that only sends begins to listen with its first wait.
    """

    def __init__(self, database: Database, send: _Send, *, group: str, pid: str, work: bool) -> None:
        self._database = database
        self._send = send
        self._work = work
        self._own = unicast(group, pid)
        self._group = (resolve_target(group), self._own) if work else ()
        self._receivers: list[Callable[[str], None]] = []
        self._loops: list[asyncio.Task[None]] = []
        self._news = asyncio.Event()
        self._hears = asyncio.Event()
        #: What is set at the end of each promise that somebody waits for.
        self._ends: dict[str, list[asyncio.Event]] = {}

    def unicast(self) -> str:
        """Return the address of this process."""
        return self._own

    def resolve_target(self, target: str) -> str:
        """Return the address of a worker group."""
        return resolve_target(target)

    def recv(self, callback: Callable[[str], None]) -> None:
        """Pass every message to this callback too. Call it before `start`."""
        self._receivers.append(callback)

    async def start(self) -> None:
        """Start taking messages. An unreachable database is retried until it is reachable."""
        if self._loops:
            return

        loops = [self._claim_always(), self._listen_always()] + ([self._drive_timers()] if self._work else [])
        self._loops = [asyncio.create_task(loop) for loop in loops]

    async def stop(self) -> None:
        """Take no more messages."""
        self._receivers.clear()

        for loop in self._loops:
            loop.cancel()

        await asyncio.gather(*self._loops, return_exceptions=True)

    async def wait_settled(self, promise_id: str, seconds: float) -> bool:
        """Return True as soon as the promise is known to be settled, or False after so many seconds or earlier.

        While the database is unreachable, this returns after a second at most and raises nothing.
        """
        await self.start()
        end = asyncio.Event()
        self._ends.setdefault(promise_id, []).append(end)

        try:
            async with asyncio.timeout(min(seconds, _LISTENING)):
                await self._hears.wait()

            async with asyncio.timeout(min(seconds, _SENDER)):
                if await self._will_hear_of(promise_id):
                    await end.wait()

        except TimeoutError:
            return False
        except ConnectorError:
            await asyncio.sleep(min(seconds, _LISTENING))
            return False
        else:
            return True
        finally:
            self._ends[promise_id].remove(end)

            if not self._ends[promise_id]:
                del self._ends[promise_id]

    async def _will_hear_of(self, promise_id: str) -> bool:
        """Have the end of this promise sent to this process; return False if the promise is settled already.

        Raises:
            ConnectorError: the database did not reply, or refused.
        """
        asked = request("promise.register_listener", awaited=promise_id, address=self._own)
        reply = await self._send(asked, {ORIGIN_HEADER: origin_of(promise_id)})

        try:
            return msgspec.json.decode(reply, type=_Message).data.promise.state == "pending"
        except msgspec.DecodeError as error:
            raise ConnectorError(error) from error

    async def _claim_always(self) -> None:
        reported = False

        while True:
            # Before the claim: news that arrive during it lead to another one.
            self._news.clear()

            try:
                async for message in self._database.claim(self._own, group=self._group):
                    self._pass_on(message)

            except ConnectorError as error:
                logger.log(logging.DEBUG if reported else logging.WARNING, "messages are late: %s", error)
                reported = True
            else:
                reported = False

            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause()):
                    await self._news.wait()

    def _pause(self) -> float:
        if self._work:
            return _LISTENING if self._hears.is_set() else _DEAF

        return _SENDER if self._hears.is_set() else _LISTENING

    def _pass_on(self, message: str) -> None:
        for receive in tuple(self._receivers):
            receive(message)

        if self._ends:
            ended = msgspec.json.decode(message, type=_Message).data.promise

            for end in self._ends.get(ended.id, ()):
                end.set()

    async def _listen_always(self) -> None:
        pause = _FIRST_PAUSE

        while True:
            try:
                async for _ in self._database.news(*(self._group or (self._own,))):
                    self._hears.set()
                    self._news.set()
                    pause = _FIRST_PAUSE

            except ConnectorError as error:
                logger.warning("not listening for messages, trying again: %s", error)
            finally:
                self._hears.clear()

            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311
            pause = min(pause * 2, _SLOWEST)

    async def _drive_timers(self) -> None:
        while True:
            try:
                if not await self._database.fire_timers():
                    logger.info("this user may not run resonate.process_timeouts(): timers are left to pg_cron")
                    return
            except ConnectorError as error:
                # Only at debug level: the loop that claims messages logs the same outage.
                logger.debug("timers are late: %s", error)

            await asyncio.sleep(_TICK)


class _Ended(msgspec.Struct, frozen=True):
    id: str = ""
    state: str = "pending"


class _Carried(msgspec.Struct, frozen=True):
    promise: _Ended = _Ended()


class _Message(msgspec.Struct, frozen=True):
    """What we read of a message, and of the reply to a registration. One about a task names no promise."""

    data: _Carried = _Carried()
