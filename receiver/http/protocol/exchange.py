"""One request and its answer, as ASGI has them.

A body is read when the application asks for it and no sooner, so what nobody asks for is not kept. One request gets one
answer, head and body in as few writes as they came in parts; what an application sends beyond that is an error of its.
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
    ended: bool
    """Whether the client sends nothing more."""

    def write(self, data: bytes) -> None:
        """Send these bytes."""

    async def drain(self) -> None:
        """Return once everything written was taken over by the network, or the connection is lost."""

    def read_on(self) -> None:
        """Let more of the request arrive."""

    def bears_rest(self) -> bool:
        """Whether the rest of the body, as far as its length is known, may be received only to be thrown away."""

    def answered(self) -> None:
        """Take note that the answer is complete."""

    def refuse(self, problem: Problem, *, without_body: bool = False) -> None:
        """Answer with a problem, and close."""

    def cut(self) -> None:
        """Break off, so that what was sent is not taken for a whole answer."""


class Exchange:
    """The ASGI side of one request. `keep_alive` may be taken back until the answer begins."""

    __slots__ = (
        "_awaits_continue",
        "_body_given",
        "_chunked",
        "_connection",
        "_defaults",
        "_kept_back",
        "_left",
        "_news",
        "_old",
        "_started",
        "_without_body",
        "_written",
        "complete",
        "gone",
        "keep_alive",
    )

    def __init__(self, connection: Connection, head: Head, defaults: list[tuple[bytes, bytes]]) -> None:
        self._connection: Final = connection
        self._defaults: Final = defaults
        self._news: Final = asyncio.Event()
        self._old: Final = head.version == "1.0"
        self._awaits_continue = head.expects_continue
        self._body_given = False
        self._without_body = head.method == "HEAD"
        self._started = self._written = False
        self._kept_back = b""
        self._chunked = False
        self._left: int | None = None
        self.keep_alive = head.keep_alive
        self.complete = False
        self.gone = False

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """Have the application answer. Whatever it does, there is a whole answer or the connection ends."""
        try:
            await app(scope, self.receive, self.send)
        except asyncio.CancelledError:
            self._connection.cut()
            raise
        except Problem as problem:
            self._fail(problem)  # the body is malformed, and this application has no answer of its own to that
        except Exception as error:  # noqa: BLE001 - whatever it is, its text may quote a request
            logger.error("the application failed: %s", describe_crash(error))  # noqa: TRY400 - the same
            self._fail(Problem("internal-error"))
        else:
            if not (self.complete or self.gone):
                logger.error("the application returned before its answer was complete")
                self._fail(Problem("internal-error"))

    async def receive(self) -> Message:
        """Return the next part of the body; after its end wait until there is nobody to answer any more.

        Raises:
            Problem: `malformed-body`: the body is not framed as the headers say.
        """
        while not (self._body_given or self.complete or self.gone):
            body = self._read()
            self._body_given = self._connection.reader.complete

            if body or self._body_given:
                if self._connection.reader.more:
                    await asyncio.sleep(0)  # there are very many chunks: others get on in between

                return {"type": "http.request", "body": body, "more_body": not self._body_given}

            if self._connection.ended:
                self.gone = True
                self._connection.cut()
                break

            if self._awaits_continue and not self._started:
                self._connection.write(_CONTINUE)

            self._awaits_continue = False
            await self._wait()

        while not (self.complete or self.gone):
            await self._wait()

        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Send a part of the answer; nothing where nobody is there any more.

        Raises:
            RuntimeError: it is not this part's turn, or the body has another length than announced.
            ValueError: a header is none.
        """
        if self.gone:
            return

        if not self._started and message["type"] == "http.response.start":
            self._kept_back = self._head(message["status"], message.get("headers", ()))
            self._started = True
        elif self._started and not self.complete and message["type"] == "http.response.body":
            more = message.get("more_body", False)
            await self._write(self._framed(message.get("body", b""), more=more), more=more)
        else:
            raise RuntimeError(f"a part of an answer out of turn: {message['type']}")

    def look_again(self) -> None:
        """Take note that more of the request has arrived, or that the client is gone."""
        self._news.set()

    def _read(self) -> bytes:
        try:
            body = self._connection.reader.body()
        except MalformedRequest:
            detail = "The body is not framed as its headers say."
            raise Problem("malformed-body", detail, {"Connection": "close"}) from None

        self._connection.read_on()

        return body

    async def _wait(self) -> None:
        self._news.clear()
        await self._news.wait()

    async def _write(self, data: bytes, *, more: bool) -> None:
        await self._connection.drain()

        if self.gone:
            return

        self._written = True
        self._connection.write(self._kept_back + data)
        self._kept_back = b""

        if not more:
            self.complete = True
            self.look_again()
            self._connection.answered()

    def _head(self, status: int, given: Headers) -> bytes:
        length: bytes | None = None
        closes = False

        for name, value in given:
            match name.lower():
                case b"content-length":
                    length = value
                case b"connection" if value.lower() == b"close":
                    closes, self.keep_alive = True, False

        # Whoever waits for our word may send its body after this answer, or not: nobody could tell it from a request.
        unread = not self._connection.reader.complete
        if unread and (self._awaits_continue or not self._connection.bears_rest()):
            self.keep_alive = False

        headers = [*self._defaults, *given]

        if not self.keep_alive and not closes:
            headers.append((b"connection", b"close"))

        if self._without_body or status in _BODILESS:
            self._without_body = True
        elif length is not None:
            self._left = int(length)
        elif not self._old:  # to an old client, the end of the connection is the end of the body
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
                raise RuntimeError("a body of another length than the answer's head says")

        return body

    def _fail(self, problem: Problem) -> None:
        if self.gone or self.complete:
            return

        if self._written:
            self._connection.cut()
        else:
            self._connection.refuse(problem, without_body=self._without_body)
