"""One connection: its requests one after the other, and an end to everything that it may wait for (`limits`).

At most one request of a connection is with the application. What follows it rests unread: `_AHEAD` bytes and what one
read brings, and everything beyond that stays in the network. Where a connection ends, the client is left a while to
read its answer and to stop sending: closing at once would have the network throw that answer away (RFC 9112, section
9.6).
"""

from __future__ import annotations

import asyncio
import contextlib
import urllib.parse
from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.utils import get_local_addr, get_remote_addr

from receiver.http.problems import Problem
from receiver.http.protocol.exchange import Exchange
from receiver.http.protocol.framing import HeadTooLarge, RequestReader
from receiver.http.protocol.heads import MalformedRequest
from receiver.http.protocol.limits import LIMITS, Limits
from receiver.http.protocol.response_heads import refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Scope
    from uvicorn import Config
    from uvicorn.server import ServerState

    from receiver.http.protocol.heads import Head

#: Bytes that may rest unread while the application is busy.
_AHEAD: Final = 64 * 1024


class Protocol(asyncio.Protocol):
    """What uvicorn runs for each connection."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: Limits = LIMITS,
    ) -> None:
        self.reader: RequestReader = RequestReader()
        self._app: Final[Any] = config.loaded_app
        self._server: Final = server_state
        self._app_state: Final = app_state
        self._loop: Final = _loop or asyncio.get_running_loop()
        self._limits: Final = limits
        self._transport: asyncio.Transport
        self._exchange: Exchange | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._unsent: asyncio.TimerHandle | None = None
        self._writable: Final = asyncio.Event()
        self._thrown_away = 0
        self._in_head = self._paused = self._closing = self._has_answered = False
        self.ended = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        self._transport = transport
        self._local, self._peer = get_local_addr(transport), get_remote_addr(transport)
        # uvicorn asks of a connection that it can be told to shut down, and names its own kinds only.
        self._server.connections.add(self)  # type: ignore[arg-type]
        self._writable.set()
        transport.set_write_buffer_limits(high=0)  # so `pause_writing` tells that anything at all is unsent
        self._in_head = True
        self._wait(self._limits.head_seconds, self._late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits, and wait no more."""
        del exc
        self._server.connections.discard(self)
        self._closing = True
        self._wait_no_more()
        self._all_taken()

        if self._exchange is not None:
            self._exchange.gone = True
            self._exchange.look_again()

    def data_received(self, data: bytes) -> None:
        """Take what has arrived."""
        if self._closing:
            self._thrown_away += len(data)

            if self._thrown_away > self._limits.rest_bytes:
                self._close()

            return

        self.reader.feed(data)

        if self._exchange is None:
            self._next()
        elif self._exchange.complete:
            self._thrown_away += len(data)
            self._skip_rest()
        else:
            self._exchange.look_again()
            self.read_on()

    def eof_received(self) -> bool:
        """Go on with the request that is under way: its client may still listen. Close otherwise."""
        self.ended = True

        if self._closing or self._exchange is None or self._exchange.complete:
            return False

        self._exchange.look_again()

        return True

    def pause_writing(self) -> None:
        """Give the client some time to take what was sent."""
        self._writable.clear()
        self._unsent = self._loop.call_later(self._limits.unsent_seconds, self.cut)

    def resume_writing(self) -> None:
        """Take note that it was taken."""
        self._all_taken()

        if self._closing:
            self._wait(self._limits.rest_seconds, self._close)

    def shutdown(self) -> None:
        """Close after the request that is under way, or now."""
        if self._exchange is not None and not self._exchange.complete:
            self._exchange.keep_alive = False
        elif not self._closing:
            self._close()

    def write(self, data: bytes) -> None:
        """Send these bytes."""
        self._transport.write(data)

    async def drain(self) -> None:
        """Return once everything written was taken over by the network, or the connection is lost."""
        await self._writable.wait()

    def read_on(self) -> None:
        """Let more arrive, unless as much rests unread as may."""
        busy = self._exchange is not None and not self._exchange.complete
        full = busy and self.reader.buffered > _AHEAD

        if full != self._paused and not (self.ended or self._transport.is_closing()):
            self._paused = full
            (self._transport.pause_reading if full else self._transport.resume_reading)()

    def bears_rest(self) -> bool:
        """Whether the rest of the body, as far as its length is known, may be received only to be thrown away."""
        return self.reader.left <= self._limits.rest_bytes

    def answered(self) -> None:
        """Go on after an answer, or close."""
        self._server.total_requests += 1
        self._has_answered = True

        if self._exchange is not None and self._exchange.keep_alive:
            self._skip_rest()
        else:
            self._finish()

    def refuse(self, problem: Problem, *, without_body: bool = False) -> None:
        """Answer with a problem, and close."""
        self.write(refusal(problem, self._server.default_headers, without_body=without_body))
        self._finish()

    def cut(self) -> None:
        """Break off, so that what was sent is not taken for a whole answer."""
        self._transport.abort()

    def _next(self) -> None:
        """Begin with the next request if its head is there."""
        try:
            head = self.reader.head()
        except HeadTooLarge:
            self.refuse(Problem("headers-too-large"))
            return
        except MalformedRequest:
            self.refuse(Problem("malformed-body", "This is not an HTTP request."))
            return

        if head is not None:
            self._begin(head)
        elif self.ended:
            self._close()
        elif self._in_head:
            return
        elif self.reader.begun:
            self._in_head = True
            self._wait(self._limits.head_seconds, self._late)
        else:
            self._wait(self._limits.idle_seconds, self._close)

    def _begin(self, head: Head) -> None:
        self._wait_no_more()
        self._in_head = False
        self._exchange = Exchange(self, head, self._server.default_headers)
        task = self._loop.create_task(self._exchange.run(self._app, self._scope(head)))
        self._server.tasks.add(task)
        task.add_done_callback(self._server.tasks.discard)
        self.read_on()

    def _scope(self, head: Head) -> Scope:
        path = head.path.decode("ascii")

        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": head.version,
            "server": self._local,
            "client": self._peer,
            "scheme": "http",
            "method": head.method,
            "root_path": "",
            "path": urllib.parse.unquote(path) if "%" in path else path,
            "raw_path": head.path,
            "query_string": head.query,
            "headers": head.headers,
            "state": self._app_state.copy(),
        }

    def _skip_rest(self) -> None:
        """Throw away what has arrived of an answered request's body; go on where that was the rest of it."""
        try:
            self.reader.body()
        except MalformedRequest:
            self._finish()
            return

        if self.reader.complete:
            self._exchange = None
            self._thrown_away = 0
            self._wait_no_more()
            self._next()
        elif self.ended or self.reader.more or self._thrown_away > self._limits.rest_bytes:
            self._finish()
            return
        elif self._deadline is None:
            self._wait(self._limits.rest_seconds, self._close)

        self.read_on()

    def _finish(self) -> None:
        """Close once the client has had a while to read its answer and to stop sending."""
        if self._closing or self._transport.is_closing():
            return

        self._closing = True
        self._thrown_away = 0
        self._wait_no_more()

        if self.ended:
            self._close()
            return

        with contextlib.suppress(OSError):  # it is lost already, and we hear of it next
            self._transport.write_eof()

        self._transport.resume_reading()

        if self._writable.is_set():
            self._wait(self._limits.rest_seconds, self._close)

    def _close(self) -> None:
        self._transport.close()

    def _all_taken(self) -> None:
        self._writable.set()

        if self._unsent is not None:
            self._unsent.cancel()
            self._unsent = None

    def _late(self) -> None:
        if self._has_answered and not self.reader.buffered:  # blank lines are no request, so nobody waits for an answer
            self._close()
            return

        detail = f"The headers did not arrive within {self._limits.head_seconds:g} seconds."
        self.refuse(Problem("request-timeout", detail))

    def _wait(self, seconds: float, over: Callable[[], None]) -> None:
        self._wait_no_more()
        self._deadline = self._loop.call_later(seconds, over)

    def _wait_no_more(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
