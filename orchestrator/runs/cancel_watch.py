"""Noticing a cancel in the process that runs the workflow's code, and ending what does not end by itself.

The engine wakes a workflow that waits. One that runs is in a step for hours, between two tries, or awaits something
that is no step. So while a workflow's code runs for more than a moment, its record of a cancel is looked up now and
then.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, Final

from orchestrator.engine import Engine
from orchestrator.errors import EngineUnavailable, UnknownPromise, WorkflowCancelled
from orchestrator.runs.cancel_record import find_cancel
from orchestrator.runs.roots import Ending
from orchestrator.sdk_internals import sleeper_of, unfinished

if TYPE_CHECKING:
    from resonate.types import PromiseRecord

    from orchestrator.durable.context import Context
    from orchestrator.engine.process_time import Timer

logger = logging.getLogger(__name__)

#: Seconds until the first look, and between two looks at most. Most code runs for less than the first.
FIRST_LOOK: Final = 1.0
SLOWEST_LOOK: Final = 3.0

#: Seconds between two checks once a cancel is known.
_STEP: Final = 0.25

#: Seconds that interrupted code may go on before its workflow is ended without it.
LAST: Final = 60.0


class CancelWatch:
    """Watches for a cancel while the block runs, and until the steps that it leaves running have ended."""

    def __init__(self, flow: Context) -> None:
        self._flow = flow
        self._engine = flow.get_dependency(Engine)
        self._root: PromiseRecord | None = None
        #: What runs on when the workflow's code has ended.
        self._left: list[asyncio.Task[Any]] = []
        self._timer: Timer | None = None
        self._watch: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        interrupts = self._flow.interrupts
        interrupts.watch, interrupts.look = self, self.look
        self.begin()

    def __exit__(self, *_: object) -> None:
        # The SDK waits for these, whether or not the workflow's code awaited them.
        self._left = unfinished(self._flow)

        if not self._is_active:
            self.end()
            # Both refer back to what refers to them, and would be left for the garbage collector.
            self._flow.interrupts.look = self._flow.interrupts.watch = None

    @property
    def _is_active(self) -> bool:
        """Whether anything of the workflow runs that a cancel may have to end."""
        return self._flow.interrupts.active or not all(task.done() for task in self._left)

    def begin(self) -> None:
        """Look from now on, the first time after `FIRST_LOOK` seconds."""
        self._timer = self._engine.process_time.later(FIRST_LOOK, self._start)

    def end(self) -> None:
        """Look no longer."""
        if self._timer is not None:
            self._timer.cancel()

        if self._watch is not None:
            self._watch.cancel()

        self._timer = self._watch = None

    async def look(self) -> None:
        """Look the cancel up. While the engine does not respond, that finds nothing."""
        with contextlib.suppress(EngineUnavailable, UnknownPromise):
            self._root = self._root or await self._engine.promises.get(self._flow.info.id)

            if await find_cancel(self._engine.promises, self._root) is not None:
                self._flow.interrupts.request()

    def _start(self) -> None:
        self._watch = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        interrupts = self._flow.interrupts
        sleep, seconds = sleeper_of(self._flow), FIRST_LOOK

        while self._is_active:
            await self.look()

            if interrupts.requested:
                break

            await sleep(seconds)
            seconds = min(seconds * 1.5, SLOWEST_LOOK)

        while self._is_active:
            late = interrupts.enforce()

            if late is not None and late > LAST:
                await _end_without(self._engine, self._flow.info.id)
                return

            await sleep(_STEP)


async def _end_without(engine: Engine, root_id: str) -> None:
    """End a workflow whose code does not stop."""
    message = f"the workflow was cancelled; its code did not stop within {LAST:g} s, so it has undone nothing"
    logger.error("%s: %s", root_id, message)

    with contextlib.suppress(EngineUnavailable, UnknownPromise):
        await engine.promises.resolve(root_id, Ending.raised(WorkflowCancelled(message)).stored())
