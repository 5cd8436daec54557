"""One deadline that is set anew for every request.

Starting a timer of the event loop and cancelling it takes longer than reading the time. So a timer that is running is
kept when the deadline moves further away or is cancelled, and looks at the deadline again when it goes off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


class Deadline:
    """Calls a function when a time has passed, unless it is set anew or cancelled before."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop: Final = loop
        self._due = 0.0
        self._passed: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._goes_off = 0.0

    @property
    def pending(self) -> bool:
        """Whether a function is going to be called."""
        return self._passed is not None

    def set(self, seconds: float, passed: Callable[[], None]) -> None:
        """Call `passed` so many seconds from now, and nothing that was set before."""
        self._due = self._loop.time() + seconds
        self._passed = passed

        if self._timer is not None and self._goes_off > self._due:
            self._stop(self._timer)

        if self._timer is None:
            self._start()

    def cancel(self) -> None:
        """Call nothing."""
        self._passed = None

    def end(self) -> None:
        """Call nothing, and leave no timer behind."""
        self.cancel()

        if self._timer is not None:
            self._stop(self._timer)

    def _start(self) -> None:
        self._goes_off = self._due
        self._timer = self._loop.call_at(self._due, self._look)

    def _stop(self, timer: asyncio.TimerHandle) -> None:
        timer.cancel()
        self._timer = None

    def _look(self) -> None:
        self._timer = None
        passed = self._passed

        if passed is None:
            return

        if self._due > self._goes_off:
            self._start()
        else:
            self._passed = None
            passed()
