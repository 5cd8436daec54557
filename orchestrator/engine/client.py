"""One process's connection to its engine, whichever kind of engine it is."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

from orchestrator.config.groups import DEFAULT_GROUP
from orchestrator.counts import Counts
from orchestrator.engine.expiry_look import ends_plain_promises
from orchestrator.engine.marks import PromiseMarks
from orchestrator.engine.people import PeopleDigests
from orchestrator.engine.process_time import ProcessTime
from orchestrator.engine.promises import Promises
from orchestrator.engine.tasks import Tasks
from orchestrator.errors import EngineUnavailable, UnknownPromise
from orchestrator.sdk_internals import has_active_tasks, refuse_tasks
from orchestrator.tracing import Tracing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from resonate.resonate import Resonate
    from resonate.types import PromiseRecord

    from orchestrator.engine.marks import Marks
    from orchestrator.engine.open_waits import LookAtWaits, OpenWaits
    from orchestrator.engine.promises import AtHand, Unseal
    from orchestrator.engine.search import Search
    from orchestrator.engine.tasks import TaskState
    from orchestrator.engine.workflow_cache import WorkflowCache

logger = logging.getLogger(__name__)

#: An id that no workflow can have.
_PROBE: Final = "countersign~probe"

_POLL_FIRST: Final = 0.01
_POLL_SLOWEST: Final = 1.0

#: How many reads a second all waiters of one process may send to an engine that does not tell of an end by itself. Two
#: cores serve about a thousand reads a second in total. A receiver full of waiters (900) therefore reads each promise
#: every four seconds instead of every second.
_POLL_RATE: Final = 220

#: For how many seconds at most the waits that a worker opens first are held up until it knows which form they need. On
#: a Resonate server one with a task is announced every 20 seconds for as long as it is open.
_LOOK: Final = 5.0


class _Waiter(Protocol):
    def __call__(self, promise_id: str, seconds: float, /) -> Coroutine[Any, Any, bool]: ...


class Engine:
    """One process's connection to its engine.

    Every call of `promises` ends in bounded time and is safe anywhere. `resonate` is the SDK's own client, for the code
    that registers and runs workflows.
    """

    def __init__(  # noqa: PLR0913 - the parts of one connection, put together in one place below
        self,
        resonate: Resonate,
        *,
        embedded: bool,
        seconds: float,
        address_of: Callable[[str], str],
        group: str = DEFAULT_GROUP,
        ends_plain_promises: bool = False,
        probe: Callable[[], Awaitable[None]] | None = None,
        wait: _Waiter | None = None,
        close: Callable[[], Awaitable[None]] | None = None,
        marks: Marks | None = None,
        watch_expired: Callable[[Callable[[PromiseRecord], None]], None] | None = None,
        open_waits: LookAtWaits | None = None,
        search: Search | None = None,
        people: PeopleDigests | None = None,
        unseal: Unseal | None = None,
        at_hand: AtHand | None = None,
        tracing: Tracing | None = None,
        clock: Callable[[], float] = time.time,
        process_time: ProcessTime | None = None,
        held: Callable[[str], TaskState | None] | None = None,
        cache: WorkflowCache | None = None,
    ) -> None:
        self.resonate: Final = resonate
        #: Whether the engine lives in this process, so that workers must too.
        self.embedded: Final = embedded
        self.seconds: Final = seconds
        #: Where workflows wait in memory, None if all of them are suspended.
        self.cache: Final = cache
        self.promises: Final = Promises(resonate.promises, seconds=seconds, unseal=unseal, at_hand=at_hand)
        self.tasks: Final = Tasks(resonate, seconds=seconds, held=held)
        self.marks: Final = marks if marks is not None else PromiseMarks(self.promises)
        #: The digests by which waits are found that are put to a person.
        self.people: Final = people if people is not None else PeopleDigests()
        #: Where this process's spans go.
        self.tracing = tracing if tracing is not None else Tracing()
        #: What this process did, counted.
        self.counts: Final = Counts()
        #: Seconds since the epoch, as the engine itself counts them if it lives in this process.
        self.clock: Final = clock
        self.process_time: Final = process_time if process_time is not None else ProcessTime()
        self.address_of: Final = address_of
        #: Where the engine delivers the tasks of this process's group.
        self.own_address: Final = address_of(group)
        self._ends_plain_promises = ends_plain_promises
        self._looking: asyncio.Task[None] | None = None
        self._looked_until: float | None = None
        self._released = asyncio.Event()
        self._waiters = 0
        self._probe = probe
        self._wait = wait
        self._close = close
        self._watch_expired = watch_expired
        self._open_waits = open_waits
        self._search = search

    @property
    def search(self) -> Search:
        """What searches this engine for workflows and open waits."""
        if self._search is None:
            raise EngineUnavailable("this engine cannot be searched")

        return self._search

    async def open_waits(self) -> OpenWaits | None:
        """Return how many waits are open, as of some seconds ago; None where that cannot be had cheaply."""
        return None if self._open_waits is None else await self._open_waits()

    def watch_expired(self, watch: Callable[[PromiseRecord], None]) -> None:
        """Call `watch` with the root of every workflow that this engine ends at its timeout, payloads left out.

        Only the embedded engine tells. Others end their workflows where no process of ours sees it.
        """
        if self._watch_expired is not None:
            self._watch_expired(watch)

    def start(self) -> None:
        """Start taking tasks. All workflows must be registered before."""
        self.resonate.start()

        if not self._ends_plain_promises and self._looking is None:
            self._looking = asyncio.create_task(self._look())

    async def ends_plain_promises(self) -> bool:
        """Return whether this engine is known to end a promise without a task at its deadline.

        Of a remote engine a worker knows it a second or two after its start. Until then this waits, but not for long.
        """
        if self._looking is not None and not self._looking.done():
            now = asyncio.get_running_loop().time()
            self._looked_until = self._looked_until or now + _LOOK
            await asyncio.wait({self._looking}, timeout=max(0.0, self._looked_until - now))

        return self._ends_plain_promises

    async def _look(self) -> None:
        self._ends_plain_promises = await ends_plain_promises(self.promises, self.resonate.get)

    async def check(self) -> None:
        """Return once the engine has replied.

        Raises:
            EngineUnavailable: it did not reply in time; the message names the cause where it is known.
        """
        try:
            async with asyncio.timeout(self.seconds):
                if self._probe is not None:
                    await self._probe()

                await self.promises.get(_PROBE)

        except TimeoutError as error:
            raise EngineUnavailable(f"the engine did not answer within {self.seconds:g} s") from error
        except UnknownPromise:
            return

    async def wait_settled(self, promise_id: str, *, seconds: float) -> PromiseRecord:
        """Return the promise's record as soon as it is settled, or as it is after `seconds`.

        Waiting holds no connection and no thread. A Resonate server is polled at growing intervals, which also grow
        with the number of waiters; the other engines tell of the end. After `release_waiters` nothing waits any more.

        Raises:
            UnknownPromise, EngineUnavailable: as for any call.
        """
        self._waiters += 1

        try:
            return await self._polled(promise_id, seconds)
        finally:
            self._waiters -= 1

    async def _polled(self, promise_id: str, seconds: float) -> PromiseRecord:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        pause = _POLL_FIRST
        record = await self.promises.get(promise_id)

        while record.state == "pending" and (left := end - loop.time()) > 0 and not self._released.is_set():
            if self._wait is not None:
                await self._until_released(self._wait(promise_id, left))
            else:
                # Jittered, so that many waiters do not poll at the same moment.
                spread = max(pause, self._waiters / _POLL_RATE) * random.uniform(0.8, 1.2)  # noqa: S311
                await self._until_released(asyncio.sleep(min(left, spread)))
                pause = min(pause * 1.5, _POLL_SLOWEST)

            record = await self.promises.get(promise_id)

        return record

    def release_waiters(self) -> None:
        """End every `wait_settled` under way, and every later one, at once with the record as it is."""
        self._released.set()

    async def _until_released(self, wait: Coroutine[Any, Any, object]) -> None:
        waits = {asyncio.ensure_future(wait), asyncio.ensure_future(self._released.wait())}

        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()

    async def stop(self, *, seconds: float = 5) -> None:
        """Take no more tasks, give running steps so many seconds to finish, then disconnect from the engine.

        A step that does not finish in time is run again by the next worker that gets its task.
        """
        self.release_waiters()

        if self._looking is not None:
            self._looking.cancel()

        # The SDK's own `stop` closes the connections first, so the result of a step that ends later would be lost.
        refuse_tasks(self.resonate)

        if self.cache is not None:
            self.cache.close()

        try:
            async with asyncio.timeout(seconds):
                while has_active_tasks(self.resonate):  # noqa: ASYNC110 - the SDK has no event for this
                    await asyncio.sleep(_POLL_FIRST)

                await self.resonate.stop()

        except TimeoutError:
            logger.warning("some steps did not finish in time; they will run again")
        finally:
            await self.tracing.close()

            if self._close is not None:
                await self._close()
