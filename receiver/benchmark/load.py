"""The benchmark's load generator: a process of its own, so that it takes no time from what it measures.

It sends prepared requests over keep-alive connections and checks every response. It understands only as much HTTP as
our own servers use: a status line and a Content-Length. It never retries after an error; errors are reported.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

from orchestrator.testing.processes import NotAsExpected

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CONNECTIONS: Final = 32

#: Seconds that a whole load may take, in addition to its own `seconds`.
_PATIENCE: Final = 300.0
#: Seconds between two requests for a result that is not available yet.
_PAUSE: Final = 0.001

_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length: "


@dataclass(frozen=True, kw_only=True)
class Load:
    """What to send: chains of requests, each chain in order over one connection.

    Every response's status must be among `statuses`, and the last response of a chain must contain the text `expect`;
    with `until` its request is repeated until it does. With `seconds` the chains are repeated for that time; without,
    each is sent once.
    """

    port: int
    chains: Sequence[Sequence[str]]
    statuses: tuple[int, ...] = (200,)
    expect: str = ""
    until: bool = False
    connections: int = CONNECTIONS
    seconds: float | None = None


@dataclass(kw_only=True)
class Report:
    """The result of a load. `began` and `ended` are seconds since the epoch; `durations` are those of the chains."""

    began: float = 0.0
    ended: float = 0.0
    durations: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Chains per second."""
        return len(self.durations) / (self.ended - self.began)


def request(
    method: str, path: str, *, token: str | None = None, body: str | None = None, prefer: str | None = None
) -> str:
    """Return the text of a request as it is sent; the body is JSON in ASCII."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"Authorization: Bearer {token}"] if token is not None else []
    lines += [f"Prefer: {prefer}"] if prefer is not None else []
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"] if body is not None else []

    return "\r\n".join([*lines, "", body or ""])


def run_load(load: Load) -> Report:
    """Run the load in a process of its own and return its report.

    Raises:
        NotAsExpected: a response was not the expected one, or there was none.
    """
    ended = subprocess.run(  # noqa: S603 - this very file, by this very interpreter
        [sys.executable, "-m", __spec__.name],
        input=json.dumps(asdict(load)),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )

    if ended.returncode != 0:
        raise NotAsExpected("the load generator failed")

    report = Report(**json.loads(ended.stdout))

    if report.wrong:
        raise NotAsExpected("wrong responses, the first of them:\n" + "\n".join(report.wrong))

    if load.seconds is None and len(report.durations) != len(load.chains):
        missing = len(load.chains) - len(report.durations)
        raise NotAsExpected(f"{missing} of {len(load.chains)} chains had no complete response")

    return report


class _Connection(asyncio.Protocol):
    """One keep-alive connection that sends chain after chain until none is left."""

    def __init__(self, load: Load, chains: Iterator[list[bytes]], report: Report) -> None:
        self._load: Final = load
        self._expect: Final = load.expect.encode()
        self._chains: Final = chains
        self._report: Final = report
        self._loop: Final = asyncio.get_running_loop()
        self._left: list[bytes] = []
        self._buffer = b""
        self._began = 0.0
        self._transport: asyncio.Transport | None = None
        self.done: Final = self._loop.create_future()

    def begin(self) -> None:
        """Send the first request of the next chain, or close the connection if there is none."""
        chain = next(self._chains, None)

        if chain is None or self._report.wrong:
            self._end()
            return

        self._left = chain[::-1]
        self._began = time.perf_counter()
        self._send()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self._report.wrong.append(f"the connection was closed: {exc}")
            self._end()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(_HEAD_END)
        at = self._buffer.find(_LENGTH, 0, end)

        if end < 0:
            return

        length = int(self._buffer[at + len(_LENGTH) : self._buffer.find(b"\r", at)]) if at >= 0 else 0
        start = end + len(_HEAD_END)

        if len(self._buffer) - start >= length:
            status, body = int(self._buffer[9:12]), self._buffer[start:]
            self._buffer = b""
            self._take_response(status, body)

    def _take_response(self, status: int, body: bytes) -> None:
        last = len(self._left) == 1
        as_expected = not last or self._expect in body

        if status not in self._load.statuses or not (as_expected or self._load.until):
            self._report.wrong.append(f"{status} {body[:500].decode(errors='replace')}")
            self._end()
        elif not as_expected:
            self._loop.call_later(_PAUSE, self._send)
        elif last:
            self._report.durations.append(time.perf_counter() - self._began)
            self.begin()
        else:
            self._left.pop()
            self._send()

    def _send(self) -> None:
        if self._transport is not None and not self.done.done():
            self._transport.write(self._left[-1])

    def _end(self) -> None:
        if not self.done.done():
            self.done.set_result(None)

        if self._transport is not None:
            self._transport.close()


async def _send_all(load: Load) -> Report:
    report = Report()
    chains = _chains(load)
    loop = asyncio.get_running_loop()
    connections = [
        (await loop.create_connection(lambda: _Connection(load, chains, report), "127.0.0.1", load.port))[1]
        for _ in range(load.connections)
    ]
    report.began = time.time()

    for connection in connections:
        connection.begin()

    try:
        async with asyncio.timeout(_PATIENCE + (load.seconds or 0)):
            await asyncio.gather(*(connection.done for connection in connections))

    except TimeoutError:
        report.wrong.append("responses were still missing when the time was over")

    report.ended = time.time()

    return report


def _chains(load: Load) -> Iterator[list[bytes]]:
    prepared = [[one.encode("ascii") for one in chain] for chain in load.chains]

    if load.seconds is None:
        return iter(prepared)

    end = time.monotonic() + load.seconds

    return itertools.takewhile(lambda _: time.monotonic() < end, itertools.cycle(prepared))


def main() -> None:
    """Run the load that standard input describes, and write the report to standard output."""
    document: dict[str, Any] = json.load(sys.stdin)

    with asyncio.Runner(loop_factory=fast_loop()) as runner:
        report = runner.run(_send_all(Load(**document)))

    json.dump(asdict(report), sys.stdout)


def fast_loop() -> Any:
    """Return uvloop's event loop factory, None if uvloop is not installed."""
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return None

    return uvloop.new_event_loop


if __name__ == "__main__":
    main()
