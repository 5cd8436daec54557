"""What a server says, read with an end: a server that never stops talking holds neither a thread nor memory.

A timeout of a socket bounds one read only. Here the time of all reads together is bounded, and their bytes.
"""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import socket
    from collections.abc import Buffer

_BYTES: Final = 64 * 1024


class Replies(io.RawIOBase):
    """Reads a connection until a moment of the monotonic clock, and at most about 64 KB of it.

    `silence` is how many seconds one read may take. TimeoutError ends all of it.
    """

    def __init__(self, connection: socket.socket, end: float, *, silence: float) -> None:
        self._connection = connection
        self._end = end
        self._silence = silence
        self._left = _BYTES

    def readable(self) -> bool:
        """Return that this can be read."""
        return True

    def readinto(self, buffer: Buffer) -> int:
        """Read once, and return how many bytes came.

        Raises:
            TimeoutError: the time is over, or too much was said.
        """
        seconds = self._end - time.monotonic()

        if seconds <= 0 or self._left <= 0:
            raise TimeoutError

        self._connection.settimeout(min(seconds, self._silence))
        count = self._connection.recv_into(buffer)
        self._left -= count

        return count
