"""How our processes handle SIGTERM, SIGINT and SIGHUP, from their first line to their last.

By default each of the three kills the process, or does nothing to the first process of a container. So the handlers are
installed before anything that takes long is imported, and stay until the interpreter has ended. They are never handed
over to an event loop, because a loop that closes restores the default.

The start of the interpreter, before the first line, is out of reach from here. You can start the process with the three
signals blocked (`env --block-signal=TERM,INT,HUP`); `listen` unblocks them.

This file is imported first, so it imports nothing that takes long.
"""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False  # as in `typing`, which takes longer to import than all of this

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Callable
    from types import FrameType
    from typing import Final

_STOPPING: Final = (signal.SIGTERM, signal.SIGINT)
_ALL: Final = (*_STOPPING, signal.SIGHUP)


class Signals:
    """The process's signals. No handler is installed before `listen`."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: Callable[[int], object] | None = None
        self._reload: Callable[[], object] | None = None
        self._reload_missed = False
        self._waking: tuple[socket.socket, ...] = ()

    def listen(self) -> None:
        """Install the handlers. Until `deliver`, SIGTERM and SIGINT end the process at once, with exit code 0.

        Nothing is lost by that: no request is served and no step runs yet, and the engine's file survives even a
        `kill -9`.
        """
        for number in _ALL:
            signal.signal(number, self._handle)

        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ALL)

    def deliver(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        stop: Callable[[int], object],
        reload: Callable[[], object] = lambda: None,
    ) -> None:
        """From now on, call these on the running loop: `stop` with the signal's number, `reload` for SIGHUP.

        A SIGHUP that came earlier is delivered now. One that comes after a stop is ignored.
        """
        import socket  # noqa: PLC0415 - see the module's docstring

        self._waking = ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        # Python runs a signal handler between two of its instructions, and a waiting loop executes none. The byte wakes
        # the loop, and the reader that it then calls is written in Python.
        loop.add_reader(ours, lambda: ours.recv(4096))
        signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        self._loop, self._stop, self._reload = loop, stop, reload

        if self._reload_missed:
            loop.call_soon(reload)

    def ignore(self) -> None:
        """Ignore the signals from now on: the process is about to end, and with its own exit code."""
        for number in _ALL:
            signal.signal(number, signal.SIG_IGN)

        signal.set_wakeup_fd(-1)

        for end in self._waking:
            end.close()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._loop is None or self._stop is None:
            if number in _STOPPING:
                os._exit(0)

            self._reload_missed = True

        elif self._loop.is_closed():
            return

        elif number in _STOPPING:
            self._reload = None
            self._loop.call_soon_threadsafe(self._stop, number)

        elif self._reload is not None:
            self._loop.call_soon_threadsafe(self._reload)
