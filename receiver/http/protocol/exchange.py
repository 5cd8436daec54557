"""One request and its response, as ASGI messages.

A body is read only when the application asks for it, so a body that is not needed is not kept in memory. Each request
gets exactly one response; the head is sent in one write with the first part of the body. If the application sends
anything more, that is an error.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, Protocol

from orchestrator.text.crashes import describe_crash
from receiver.http.problems import Problem
from receiver.http.protocol.heads import MalformedRequest
from receiver.http.protocol.response_heads import response_head

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Scope

    from receiver.http.protocol.framing import RequestReader
    from receiver.http.protocol.heads import Head
    from receiver.http.protocol.response_heads import Headers

logger = logging.getLogger(__name__)

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_BODILESS: Final = frozenset((204, 304))


class Connection(Protocol):
    """What an exchange needs of its connection."""

    reader: RequestReader
    #: Whether the client has stopped sending.
    ended: bool

    def write(self, data: bytes) -> None:
        """Send these bytes."""

    async def drain(self) -> None:
        """Return once the network has taken everything that was written, or the connection is lost."""

    def adjust_reading(self) -> None:
        """Pause reading while the buffer is full, and resume it otherwise."""

    def may_discard_rest(self) -> bool:
        """Whether the rest of the body is short enough, as far as its length is known, to be received and discarded."""

    def responded(self) -> None:
        """Continue after a complete response, or close."""

    def refuse(self, problem: Problem, *, without_body: bool = False) -> None:
        """Respond with a problem, and close."""

    def abort(self) -> None:
        """Drop the connection, so that the client does not mistake what was sent for a complete response."""


class Exchange:
    """The ASGI side of one request. `keep_alive` may be set to False until the response begins."""

    __slots__ = (
        "_awaits_continue",
        "_body_given",
        "_changed",
        "_chunked",
        "_connection",
        "_defaults",
        "_http_1_0",
        "_left",
        "_started",
        "_unsent_head",
        "_without_body",
        "_written",
        "complete",
        "gone",
        "keep_alive",
    )

    def __init__(self, connection: Connection, head: Head, defaults: list[tuple[bytes, bytes]]) -> None:
        self._connection: Final = connection
        self._defaults: Final = defaults
        self._changed: Final = asyncio.Event()
        self._http_1_0: Final = head.version == "1.0"
        self._awaits_continue = head.expects_continue
        self._body_given = False
        self._without_body = head.method == "HEAD"
        self._started = self._written = False
        self._unsent_head = b""
        self._chunked = False
        self._left: int | None = None
        self.keep_alive = head.keep_alive
        self.complete = False
        self.gone = False

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """Run the application. Whatever it does, the client gets a complete response or the connection is dropped."""
        try:
            await app(scope, self.receive, self.send)
        except asyncio.CancelledError:
            self._connection.abort()
            raise
        except Problem as problem:
            self._fail(problem)  # the body is malformed, and this application did not handle that itself
        except Exception as error:  # noqa: BLE001 - its text may quote the request, so nobody else may log it
            logger.error("the application failed: %s", describe_crash(error))  # noqa: TRY400 - the same
            self._fail(Problem("internal-error"))
        else:
            if not (self.complete or self.gone):
                logger.error("the application returned before its response was complete")
                self._fail(Problem("internal-error"))

    async def receive(self) -> Message:
        """Return the next part of the body. After its end, wait for the end of the response or of the connection.

        Raises:
            Problem: `malformed-body`: the body is not framed as the headers say.
        """
        while not (self._body_given or self.complete or self.gone):
            body = self._read()
            self._body_given = self._connection.reader.complete

            if body or self._body_given:
                if self._connection.reader.more:
                    await asyncio.sleep(0)  # there are very many chunks: let other connections run in between

                return {"type": "http.request", "body": body, "more_body": not self._body_given}

            if self._connection.ended:
                self.gone = True
                self._connection.abort()
                break

            if self._awaits_continue and not self._started:
                self._connection.write(_CONTINUE)

            self._awaits_continue = False
            await self._wait()

        while not (self.complete or self.gone):
            await self._wait()

        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Send a part of the response; do nothing if the client is gone.

        Raises:
            RuntimeError: the parts are out of order, or the body has another length than announced.
            ValueError: a header is malformed.
        """
        if self.gone:
            return

        if not self._started and message["type"] == "http.response.start":
            self._unsent_head = self._head(message["status"], message.get("headers", ()))
            self._started = True
        elif self._started and not self.complete and message["type"] == "http.response.body":
            more = message.get("more_body", False)
            await self._write(self._framed(message.get("body", b""), more=more), more=more)
        else:
            raise RuntimeError(f"a part of the response is out of order: {message['type']}")

    def wake(self) -> None:
        """Wake `receive`: more of the request has arrived, the response is complete, or the client is gone."""
        self._changed.set()

    def _read(self) -> bytes:
        try:
            body = self._connection.reader.body()
        except MalformedRequest:
            detail = "The body is not framed as its headers say."
            raise Problem("malformed-body", detail, {"Connection": "close"}) from None

        self._connection.adjust_reading()

        return body

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def _write(self, data: bytes, *, more: bool) -> None:
        await self._connection.drain()

        if self.gone:
            return

        self._written = True
        self._connection.write(self._unsent_head + data)
        self._unsent_head = b""

        if not more:
            self.complete = True
            self.wake()
            self._connection.responded()

    def _head(self, status: int, given: Headers) -> bytes:
        length: bytes | None = None
        closes = False

        for name, value in given:
            match name.lower():
                case b"content-length":
                    length = value
                case b"connection" if value.lower() == b"close":
                    closes, self.keep_alive = True, False

        # A client that waits for `100 Continue` may or may not send its body after this response. The body could not
        # be told apart from the next request, so the connection must not be used for another one.
        unread = not self._connection.reader.complete
        if unread and (self._awaits_continue or not self._connection.may_discard_rest()):
            self.keep_alive = False

        headers = [*self._defaults, *given]

        if not self.keep_alive and not closes:
            headers.append((b"connection", b"close"))

        if self._without_body or status in _BODILESS:
            self._without_body = True
        elif length is not None:
            self._left = int(length)
        elif not self._http_1_0:  # for HTTP/1.0, the end of the connection is the end of the body
            self._chunked = True
            headers.append((b"transfer-encoding", b"chunked"))

        return response_head(status, headers)

    def _framed(self, body: bytes, *, more: bool) -> bytes:
        if self._without_body:
            return b""

        if self._chunked:
            return (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + (b"" if more else b"0\r\n\r\n")

        if self._left is not None:
            self._left -= len(body)

            if self._left < 0 or (self._left and not more):
                raise RuntimeError("the response's body has another length than its Content-Length")

        return body

    def _fail(self, problem: Problem) -> None:
        if self.gone or self.complete:
            return

        if self._written:
            self._connection.abort()
        else:
            self._connection.refuse(problem, without_body=self._without_body)
