"""Reading what a server says, within limits: a server that never stops talking holds neither a thread nor memory.

A socket's timeout limits one read only. This file limits the time of all reads together, and their bytes.
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

    `silence` is how many seconds one read may take. A read beyond any of these limits raises TimeoutError.
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
            TimeoutError: the time is over, or the server has sent too much.
        """
        seconds = self._end - time.monotonic()

        if seconds <= 0 or self._left <= 0:
            raise TimeoutError

        self._connection.settimeout(min(seconds, self._silence))
        count = self._connection.recv_into(buffer)
        self._left -= count

        return count
