"""A cancel as it reaches the code of a workflow that runs in this process at that moment.

A workflow that waits is woken by the engine, because the cancel settles what it waits for. A workflow that runs is told
here, once: its next step, or the step that it is in, raises `WorkflowCancelled`. What it begins
after that is its compensation, and is left alone.

A try of a step that is under way gets `GRACE` seconds to end by itself. A pause before another try ends at once. A step
that catches its `asyncio.CancelledError`, or waits for a thread that cannot be abandoned, ends when it wants to.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from orchestrator.errors import CANCELLED, WorkflowCancelled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

#: Seconds that a step gets to end by itself.
GRACE: Final = 5.0


@dataclass(kw_only=True)
class _Running:
    """A step that runs. `compensates`: it began after the workflow was told of the cancel."""

    task: asyncio.Task[Any]
    compensates: bool
    pausing: bool = False
    due: float = 0.0
    stopped: bool = False


class Watch(Protocol):
    """What looks for a cancel now and then."""

    def begin(self) -> None:
        """Look from now on."""

    def end(self) -> None:
        """Look no longer."""


class Interrupts:
    """What of one workflow runs in this process, and the cancel that ends it. `clock` counts seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._noticed: float | None = None
        #: By the step's id and its task: steps that are not recorded have the same id if they have the same name.
        self._running: dict[tuple[str, asyncio.Task[Any] | None], _Running] = {}
        self._has_body = False
        #: When a step or a wait was last created or settled.
        self._touched = clock()
        #: When the first of what did not end was interrupted.
        self._stopped_at: float | None = None
        #: Whether the workflow's code knows of the cancel.
        self.told = False
        #: Looks the cancel up, and calls `request` if there is one; None where nothing watches for it.
        self.look: Callable[[], Awaitable[None]] | None = None
        #: What looks for the cancel while the code runs.
        self.watch: Watch | None = None

    @property
    def requested(self) -> bool:
        """Whether the cancel is known here."""
        return self._noticed is not None

    @property
    def active(self) -> bool:
        """Whether code of the workflow runs here."""
        return self._has_body or bool(self._running)

    def begin_watch(self) -> None:
        """Look for the cancel again: the code goes on."""
        if self.watch is not None:
            self.watch.begin()

    def end_watch(self) -> None:
        """Look for the cancel no longer: the code waits for what a cancel ends."""
        if self.watch is not None:
            self.watch.end()

    def request(self) -> None:
        """Take note that the workflow is to be cancelled."""
        if self._noticed is None:
            self._noticed = self._clock()

    async def drive(self, body: Awaitable[Any]) -> Any:
        """Run the workflow's code, and return what it returns."""
        self._has_body = True

        try:
            return await body
        finally:
            self._has_body = False

    async def step(self, step_id: str, call: Callable[[], Awaitable[Any]], *, shielded: bool) -> Any:
        """Run a step, and return what it returns.

        Raises:
            WorkflowCancelled: it was not begun, or interrupted. Whether it has had an effect is unknown then.
        """
        if self.requested and not self.told and not shielded:
            self.told = True
            raise WorkflowCancelled(CANCELLED)

        task = cast("asyncio.Task[Any]", asyncio.current_task())
        running = self._running[step_id, task] = _Running(task=task, compensates=self.told or shielded)

        try:
            return await call()
        except asyncio.CancelledError:
            if not running.stopped:
                raise

            while task.cancelling():
                task.uncancel()

            self.told = True
            raise WorkflowCancelled(CANCELLED) from None
        finally:
            del self._running[step_id, task]

    async def pause(self, step_id: str, sleep: Awaitable[None]) -> None:
        """Await the pause before another try of this step, and look once more whether that is still wanted.

        Raises:
            WorkflowCancelled: it is not. The watch may not have noticed it yet.
        """
        running = self._running.get((step_id, asyncio.current_task()))

        if running is None:
            await sleep
            return

        running.pausing = True

        try:
            await sleep
        finally:
            running.pausing = False

        if running.compensates:
            return

        if self.look is not None and not self.requested:
            await self.look()

        if self.requested:
            self.told = True
            raise WorkflowCancelled(CANCELLED)

    async def record[T](self, request: Awaitable[T]) -> T:
        """Await a request that creates or settles a step or a wait."""
        try:
            return await request
        finally:
            self._touched = self._clock()

    def enforce(self) -> float | None:
        """Interrupt what has had its time, and return for how many seconds something has not ended in spite of that."""
        if self._noticed is None:
            return None

        now = self._clock()
        ending = [running for running in self._running.values() if not running.compensates]

        for running in ending:
            if now >= max(running.due, self._noticed + (0 if running.pausing else GRACE)):
                running.due, running.stopped = now + GRACE, True
                running.task.cancel()
                self._stopped_at = self._stopped_at or now

        if self._stopped_at is None or not ending:
            return None

        return now - max(self._stopped_at, self._touched)
