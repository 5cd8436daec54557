"""Where one request ends and the next one begins: splits the bytes of a connection into HTTP/1.1 requests.

Whatever two parsers could read differently is refused (RFC 9112, sections 2.2 and 7), and nothing after it is read.
Everything is bounded: a head, a chunk's size line, and the extensions and trailers of a chunked body. This file is
pure: bytes go in, requests come out. It has no socket and no clock; the caller is responsible for timeouts.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from receiver.http.protocol.heads import TOKEN, VALUE, MalformedRequest, check_request_line, check_stray, parse_head

if TYPE_CHECKING:
    from receiver.http.protocol.heads import Head

#: The most bytes of a request's head, blank lines before it included. The application accepts less.
HEAD_BYTES: Final = 64 * 1024

#: The most lines of a request's head. The application accepts fewer; very many short lines take long to parse.
HEAD_LINES: Final = 200

_SIZE_LINE_BYTES: Final = 256
#: The most bytes of extensions and trailers in one chunked body.
_EXTRA_BYTES: Final = 8 * 1024
#: Chunks that one call reads, so that it returns within a few milliseconds.
_CHUNKS_AT_ONCE: Final = 4096

_SIZE_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})((?:;" + VALUE + rb")?)")
_TRAILER: Final = re.compile(TOKEN + rb":" + VALUE)


class HeadTooLarge(MalformedRequest):
    """A head did not end within `HEAD_BYTES` or `HEAD_LINES`."""


class _Step(Enum):
    """What comes next in a chunked body."""

    SIZE = auto()
    DATA = auto()
    TRAILERS = auto()


class RequestReader:
    """The requests of one connection, in order: `head`, then `body` until it is `complete`, then `head` again.

    After it has raised `MalformedRequest` it reads nothing more: every further call raises it again.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._skipped = 0
        self._has_line = False
        self._refused: MalformedRequest | None = None
        self._left = 0
        self._extra = 0
        self._step: _Step | None = None
        #: Whether the last `body` left more chunks that may have arrived already.
        self.more = False

    def feed(self, data: bytes) -> None:
        """Add bytes that have arrived."""
        if self._refused is None:
            self._buffer += data

    @property
    def buffered(self) -> int:
        """How many bytes have arrived and are not read yet."""
        return len(self._buffer)

    @property
    def begun(self) -> bool:
        """Whether anything of the next head has arrived."""
        return bool(self._buffer or self._skipped)

    @property
    def complete(self) -> bool:
        """Whether the body was read to its end."""
        return self._step is None and not self._left

    @property
    def arrived(self) -> bool:
        """Whether the whole body has arrived, read or not. Of a chunked body this is not known before it is read."""
        return self._step is None and self._left <= len(self._buffer)

    @property
    def left(self) -> int:
        """Bytes that are known to be missing from the body, or from its present chunk."""
        return self._left

    def head(self) -> Head | None:
        """Return the next request's head, or None until it has arrived completely.

        Raises:
            MalformedRequest: it is malformed, whatever the missing part is. `HeadTooLarge`: it is too large.
        """
        self._raise_if_refused()
        try:
            return self._head()
        except MalformedRequest as refused:
            self._refuse(refused)
            raise

    def body(self) -> bytes:
        """Return what has arrived of the body since the last call; of very many chunks it may return only some.

        Raises:
            MalformedRequest: its chunks are malformed.
        """
        self._raise_if_refused()

        if self._step is None:
            return self._take() if self._left else b""

        try:
            return self._chunks()
        except MalformedRequest as refused:
            self._refuse(refused)
            raise

    def _raise_if_refused(self) -> None:
        if self._refused is not None:
            raise self._refused

    def _refuse(self, refused: MalformedRequest) -> None:
        self._refused = refused
        self._buffer.clear()

    def _head(self) -> Head | None:
        buffer = self._buffer

        if not buffer:
            return None

        while buffer.startswith(b"\r\n"):
            del buffer[:2]
            self._skipped += 2

        end = buffer.find(b"\r\n\r\n", max(0, self._searched - 3))

        if (len(buffer) if end < 0 else end + 4) + self._skipped > HEAD_BYTES:
            raise HeadTooLarge("the head is too large")

        if end < 0:
            self._check_partial_head()
            return None

        if buffer.count(b"\r\n", 0, end + 2) > HEAD_LINES:
            raise HeadTooLarge("the head has too many lines")

        head = parse_head(bytes(buffer[: end + 2]))
        del buffer[: end + 4]
        self._searched = self._skipped = 0
        self._has_line = False
        self._begin_body(head.length)

        return head

    def _check_partial_head(self) -> None:
        """Refuse a head that is malformed already, so that nobody waits for its end."""
        buffer = self._buffer
        check_stray(buffer, max(0, self._searched - 1))

        if not self._has_line and buffer.find(b"\r\n", max(0, self._searched - 1)) >= 0:
            self._has_line = True
            check_request_line(buffer)

        self._searched = len(buffer)

    def _begin_body(self, length: int | None) -> None:
        self._left = length or 0
        self._extra = 0
        self._step = _Step.SIZE if length is None else None

    def _take(self) -> bytes:
        data = bytes(self._buffer[: self._left])
        del self._buffer[: self._left]
        self._left -= len(data)

        return data

    def _chunks(self) -> bytes:
        parts: list[bytes] = []

        while len(parts) < _CHUNKS_AT_ONCE:
            if self._step is _Step.DATA:
                if self._left:
                    parts.append(self._take())

                if self._left or len(self._buffer) < 2:  # noqa: PLR2004 - a line's end
                    break

                if not self._buffer.startswith(b"\r\n"):
                    raise MalformedRequest("a chunk is longer than its size")

                del self._buffer[:2]
                self._step = _Step.SIZE

            if self._step is None or not self._read_line():
                break

        self.more = len(parts) == _CHUNKS_AT_ONCE

        return b"".join(parts)

    def _read_line(self) -> bool:
        """Read a chunk's size line, or a trailer, which is discarded; return whether the line has arrived."""
        end = self._buffer.find(b"\r\n", 0, _SIZE_LINE_BYTES if self._step is _Step.SIZE else _EXTRA_BYTES)

        if end < 0:
            if len(self._buffer) >= (_SIZE_LINE_BYTES if self._step is _Step.SIZE else _EXTRA_BYTES):
                raise MalformedRequest("a line of the chunked body is too long")

            return False

        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]

        if self._step is _Step.SIZE:
            self._begin_chunk(line)
        elif not line:
            self._step = None
        else:
            self._discard_extra(line, _TRAILER.fullmatch(line) is not None)

        return True

    def _begin_chunk(self, line: bytes) -> None:
        size = _SIZE_LINE.fullmatch(line)

        if size is None:
            raise MalformedRequest("a chunk's size line is malformed")

        self._left = int(size[1], 16)
        self._step = _Step.DATA if self._left else _Step.TRAILERS

        if size[2]:
            self._discard_extra(size[2], well_formed=True)

    def _discard_extra(self, extra: bytes, well_formed: bool) -> None:  # noqa: FBT001 - read beside its argument
        self._extra += len(extra)

        if not well_formed or self._extra > _EXTRA_BYTES:
            raise MalformedRequest("the extensions or trailers of the chunked body are malformed or too long")
