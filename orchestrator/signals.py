"""What SIGTERM, SIGINT and SIGHUP mean to a process of ours, from its first line to its last.

The default of all three is death by that very signal, and for the first process of a container it is nothing at all. So
the handlers are there before anything that takes long is imported, and stay until the interpreter is gone. They are
never handed over to an event loop: a loop that closes gives a signal its default back.

What comes before the first line, the start of the interpreter itself, is out of reach from here. Whoever starts the
process can block the three signals until then (`env --block-signal=TERM,INT,HUP`); `listen` lets them in.

This file is imported first, so it imports nothing that takes long.
"""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False  # as `typing` has it, which takes longer to import than all of this

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Callable
    from types import FrameType
    from typing import Final

_STOPPING: Final = (signal.SIGTERM, signal.SIGINT)
_ALL: Final = (*_STOPPING, signal.SIGHUP)


class Signals:
    """The process's signals. Nothing is touched before `listen`."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: Callable[[int], object] | None = None
        self._reload: Callable[[], object] | None = None
        self._reload_missed = False
        self._waking: tuple[socket.socket, ...] = ()

    def listen(self) -> None:
        """Take the signals. Until `deliver`, one that stops ends the process at once, with exit code 0.

        Nothing is lost by that: nobody is served yet, no step runs, and the engine's file survives worse.
        """
        for number in _ALL:
            signal.signal(number, self._heard)

        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ALL)

    def deliver(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        stop: Callable[[int], object],
        reload: Callable[[], object] = lambda: None,
    ) -> None:
        """From now on call these on the running loop: `stop` with the signal's number, `reload` for SIGHUP.

        A SIGHUP that came before is delivered now; one that comes after a stop is not.
        """
        import socket  # noqa: PLC0415 - see the module's docstring

        self._waking = ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        # Python runs a handler between two of its instructions, and a loop that waits has none. So a byte wakes it, and
        # what it then calls is written in Python.
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

    def _heard(self, number: int, _frame: FrameType | None) -> None:
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
