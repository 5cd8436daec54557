"""A worker's requests survive a short outage of the engine, and no request outlives a lease."""

from __future__ import annotations

import asyncio

import pytest
from resonate_base import ConnectorError

from orchestrator.engine.remote.retrying import RetryingNetwork


class Flaky:
    """A network that fails so many times, or never replies."""

    def __init__(self, failures: int, *, silent: bool = False) -> None:
        self.failures = failures
        self.silent = silent
        self.asked = self.started = self.stopped = 0

    async def start(self) -> None:
        self.started += 1

    async def stop(self) -> None:
        self.stopped += 1

    async def send(self, req: str, headers: dict[str, str] | None = None) -> str:
        self.asked += 1

        if self.silent:
            await asyncio.Event().wait()

        if self.asked <= self.failures:
            raise ConnectorError(OSError("unreachable"))

        return req.upper()


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


def retrying(inner: Flaky, retry_seconds: float, *, seconds: float = 5) -> RetryingNetwork:
    time = Time()
    return RetryingNetwork(inner, seconds=seconds, retry_seconds=retry_seconds, clock=time, sleep=time.sleep)


async def test_a_short_outage_loses_no_request() -> None:
    inner = Flaky(5)

    assert await retrying(inner, 15).send("a") == "A"
    assert inner.asked == 6


async def test_a_long_outage_ends_in_an_error_while_the_lease_is_still_ours() -> None:
    inner = Flaky(1000)

    with pytest.raises(ConnectorError):
        await retrying(inner, 15).send("a")

    assert 5 < inner.asked < 20


async def test_a_process_that_only_sends_gets_the_error_at_once() -> None:
    inner = Flaky(1)

    with pytest.raises(ConnectorError):
        await retrying(inner, 0).send("a")

    assert inner.asked == 1


async def test_silence_is_an_error_too() -> None:
    with pytest.raises(ConnectorError):
        await retrying(Flaky(0, silent=True), 0, seconds=0.01).send("a")


async def test_a_network_that_is_stopped_gives_up_and_was_never_started() -> None:
    inner = Flaky(1000)
    network = retrying(inner, 1000)
    await network.start()
    await network.stop()

    with pytest.raises(ConnectorError):
        await network.send("a")

    assert (inner.asked, inner.started, inner.stopped) == (1, 0, 1)
