"""One connection: its requests one after the other, with a deadline for everything that it waits for (`limits`).

The application handles at most one request of a connection at a time. What follows that request is buffered unread:
`_AHEAD` bytes and what one more read returns. Everything beyond that stays in the network. Before a connection is
closed, the client has some time to read its response and to stop sending: if it was closed at once, the network could
discard the response (RFC 9112, section 9.6).

Long because a connection is one state machine, and each of its steps may be the last one.
"""

from __future__ import annotations

import asyncio
import contextlib
import urllib.parse
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.utils import get_local_addr, get_remote_addr

from receiver.http.bodies import BODY_ARRIVED
from receiver.http.problems import Problem
from receiver.http.protocol.deadline import Deadline
from receiver.http.protocol.exchange import Exchange
from receiver.http.protocol.framing import HeadTooLarge, RequestReader
from receiver.http.protocol.heads import MalformedRequest
from receiver.http.protocol.limits import LIMITS, Limits
from receiver.http.protocol.response_heads import refusal
from receiver.http.telemetry import log_refusal

if TYPE_CHECKING:
    from starlette.types import Scope
    from uvicorn import Config
    from uvicorn.server import ServerState

    from receiver.http.protocol.heads import Head

#: Bytes that may be buffered unread while the application is busy.
_AHEAD: Final = 64 * 1024


class Protocol(asyncio.Protocol):
    """The protocol that uvicorn runs for each connection."""

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
        self._deadline: Final = Deadline(self._loop)
        self._send_deadline: asyncio.TimerHandle | None = None
        self._writable: Final = asyncio.Event()
        self._discarded = 0
        self._in_head = self._paused = self._closing = self._has_responded = self.ended = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for the first request."""
        self._transport = transport
        self._context = copy_context()  # whoever calls when a request is complete may be the one before it
        self._local, self._peer = get_local_addr(transport), get_remote_addr(transport)
        # uvicorn only calls `shutdown` on its connections, but its types allow only its own classes.
        self._server.connections.add(self)  # type: ignore[arg-type]
        self._writable.set()
        transport.set_write_buffer_limits(high=0)  # so that `pause_writing` is called as soon as anything is unsent
        self._in_head = True
        self._deadline.set(self._limits.head_seconds, self._head_timed_out)

    def connection_lost(self, _exc: Exception | None) -> None:
        """Cancel all deadlines, and wake the exchange that is under way."""
        self._server.connections.discard(self)
        self._closing = True
        self._deadline.end()
        self._all_sent()

        if self._exchange is not None:
            self._exchange.gone = True
            self._exchange.wake()

    def data_received(self, data: bytes) -> None:
        """Take in what has arrived."""
        if self._closing:
            self._discarded += len(data)

            if self._discarded > self._limits.rest_bytes:
                self._close()

            return

        self.reader.feed(data)

        if self._exchange is None:
            self._next()
        elif self._exchange.complete:
            self._discarded += len(data)
            self._discard_rest()
        else:
            self._exchange.wake()
            self.adjust_reading()

    def eof_received(self) -> bool:
        """Continue the request that is under way, since its client may still be reading. Close otherwise."""
        self.ended = True

        if self._closing or self._exchange is None or self._exchange.complete:
            return False

        self._exchange.wake()

        return True

    def pause_writing(self) -> None:
        """Start the deadline for the client to receive what was sent."""
        self._writable.clear()
        self._send_deadline = self._loop.call_later(self._limits.unsent_seconds, self.abort)

    def resume_writing(self) -> None:
        """Cancel that deadline: everything was sent."""
        self._all_sent()

        if self._closing:
            self._deadline.set(self._limits.rest_seconds, self._close)

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
        """Return once the network has taken everything that was written, or the connection is lost."""
        if not self._writable.is_set():
            await self._writable.wait()

    def adjust_reading(self) -> None:
        """Pause reading while the buffer is full, and resume it otherwise."""
        busy = self._exchange is not None and not self._exchange.complete
        full = busy and self.reader.buffered > _AHEAD

        if full != self._paused and not (self.ended or self._transport.is_closing()):
            self._paused = full
            (self._transport.pause_reading if full else self._transport.resume_reading)()

    def may_discard_rest(self) -> bool:
        """Whether the rest of the body is short enough, as far as its length is known, to be received and discarded."""
        return self.reader.left <= self._limits.rest_bytes

    def responded(self) -> None:
        """Continue after a complete response, or close."""
        self._server.total_requests += 1
        self._has_responded = True

        if self._exchange is not None and self._exchange.keep_alive:
            self._discard_rest()
        else:
            self._finish()

    def refuse(self, problem: Problem, *, without_body: bool = False) -> None:
        """Respond with a problem, and close."""
        self.write(refusal(problem, self._server.default_headers, without_body=without_body))
        self._finish()

    def abort(self) -> None:
        """Drop the connection, so that the client does not mistake what was sent for a complete response."""
        self._transport.abort()

    def _next(self) -> None:
        """Start the next request if its head has arrived."""
        try:
            head = self.reader.head()
        except MalformedRequest as error:
            large, other = isinstance(error, HeadTooLarge), Problem("malformed-body", "This is not an HTTP request.")
            self._refuse_head(Problem("headers-too-large") if large else other, str(error))
            return

        if head is not None:
            self._begin(head)
        elif self.ended:
            self._close()
        elif self._in_head:
            return
        elif self.reader.begun:
            self._in_head = True
            self._deadline.set(self._limits.head_seconds, self._head_timed_out)
        else:
            self._deadline.set(self._limits.idle_seconds, self._close)

    def _begin(self, head: Head) -> None:
        self._deadline.cancel()
        self._in_head = False
        self._exchange = Exchange(self, head, self._server.default_headers)
        # A task that starts at once takes no turn of the event loop. A request that was received together with the one
        # before it begins inside that one's task, so its own task waits for a turn: otherwise they would be nested.
        task = asyncio.Task(
            self._exchange.run(self._app, self._scope(head)),
            loop=self._loop,
            context=self._context.copy(),
            eager_start=asyncio.current_task(self._loop) is None,
        )

        if not task.done():
            self._server.tasks.add(task)
            task.add_done_callback(self._server.tasks.discard)

        self.adjust_reading()

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
            "extensions": {BODY_ARRIVED: {}} if self.reader.arrived else {},
        }

    def _discard_rest(self) -> None:
        """Discard what has arrived of the body after the response; start the next request if the body is complete."""
        try:
            self.reader.body()
        except MalformedRequest:
            self._finish()
            return

        if self.reader.complete:
            self._exchange = None
            self._discarded = 0
            self._deadline.cancel()
            self._next()
        elif self.ended or self.reader.more or self._discarded > self._limits.rest_bytes:
            self._finish()
            return
        elif not self._deadline.pending:
            self._deadline.set(self._limits.rest_seconds, self._close)

        self.adjust_reading()

    def _finish(self) -> None:
        """Close after the client has had some time to read its response and to stop sending."""
        if self._closing or self._transport.is_closing():
            return

        self._closing = True
        self._discarded = 0
        self._deadline.cancel()

        if self.ended:
            self._close()
            return

        with contextlib.suppress(OSError):  # the connection is lost, and `connection_lost` is called next
            self._transport.write_eof()

        self._transport.resume_reading()

        if self._writable.is_set():
            self._deadline.set(self._limits.rest_seconds, self._close)

    def _close(self) -> None:
        self._transport.close()

    def _all_sent(self) -> None:
        self._writable.set()

        if self._send_deadline is not None:
            self._send_deadline.cancel()
            self._send_deadline = None

    def _head_timed_out(self) -> None:
        if self._has_responded and not self.reader.buffered:  # only blank lines came, so no response is expected
            self._close()
            return

        detail = f"The headers did not arrive within {self._limits.head_seconds:g} seconds."
        self._refuse_head(Problem("request-timeout", detail), detail)

    def _refuse_head(self, problem: Problem, reason: str) -> None:
        log_refusal(self._peer, problem.status, reason)  # the application, which logs all others, never sees this one
        self.refuse(problem)
