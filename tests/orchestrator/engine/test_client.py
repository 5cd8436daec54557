"""Waiting by polling an engine: how often, and when it ends."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from support.plant import pause
from support.skipping import SKIPPING

from orchestrator.engine import client
from orchestrator.engine.client import Engine


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return SKIPPING


class Counting:
    """Promises that stay pending, and how often they were read."""

    def __init__(self) -> None:
        self.asked = 0

    async def get(self, promise_id: str) -> Any:
        self.asked += 1
        return SimpleNamespace(id=promise_id, state="pending")


def remote(promises: Counting) -> Engine:
    resonate: Any = SimpleNamespace(promises=promises)
    return Engine(resonate, embedded=False, seconds=5, address_of=str)


async def test_many_waiters_together_stay_below_the_read_limit_of_the_engine() -> None:
    promises = Counting()
    engine = remote(promises)
    waiters = 900
    await asyncio.gather(*(engine.wait_settled(f"p{n}", seconds=2) for n in range(waiters)))

    # Once at the beginning, once at the end, and in between 220 a second.
    assert waiters * 2 < promises.asked <= waiters * 2 + 2 * 220 * 1.3


async def test_a_single_waiter_learns_of_the_settlement_soon() -> None:
    promises = Counting()
    await remote(promises).wait_settled("p", seconds=1)

    assert promises.asked >= 5


async def test_what_waits_for_the_look_at_an_engine_is_not_held_up_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    async def look(*_: Any) -> bool:
        await anyio.sleep(60)
        return True

    monkeypatch.setattr(client, "ends_plain_promises", look)
    resonate: Any = SimpleNamespace(promises=Counting(), get=None, start=lambda: None)
    engine = Engine(resonate, embedded=False, seconds=5, address_of=str)
    began = anyio.current_time()
    engine.start()

    assert not any(await asyncio.gather(*(engine.ends_plain_promises() for _ in range(3))))
    assert anyio.current_time() - began == pytest.approx(5, abs=0.1)

    assert not await engine.ends_plain_promises()
    assert anyio.current_time() - began == pytest.approx(5, abs=0.1)

    await anyio.sleep(60)
    assert await engine.ends_plain_promises()


async def test_nothing_waits_in_a_process_that_is_about_to_end() -> None:
    promises = Counting()
    engine = remote(promises)

    async with anyio.create_task_group() as group:
        group.start_soon(lambda: engine.wait_settled("p", seconds=3600))
        await pause(0.05)
        engine.release_waiters()

    assert promises.asked >= 2
