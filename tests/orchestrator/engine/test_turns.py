"""Turns: many calls for one key leave room for other keys, and readers that wait share one call."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from support.plant import pause
from support.skipping import SKIPPING

from orchestrator.engine.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return SKIPPING


class Calls:
    """Calls that end when the test lets them; each returns its number."""

    def __init__(self) -> None:
        self.begun = 0
        self.running = 0
        self.most = 0
        self.error: Exception | None = None
        self._open = asyncio.Event()

    async def __call__(self) -> int:
        self.begun += 1
        number = self.begun
        self.running += 1
        self.most = max(self.most, self.running)

        try:
            await self._open.wait()
        finally:
            self.running -= 1

        if self.error is not None:
            raise self.error

        return number

    def end(self) -> None:
        self._open.set()


@pytest.fixture
async def calls() -> Calls:
    return Calls()


async def test_no_more_than_the_width_run_at_once_and_all_run_eventually(calls: Calls) -> None:
    turns = Turns(3)
    asked = [asyncio.create_task(turns.take("a", calls)) for _ in range(100)]
    await pause(0.01)
    assert calls.running == 3

    calls.end()
    assert await asyncio.gather(*asked) == list(range(1, 101))
    assert calls.most == 3


async def test_many_calls_for_one_key_do_not_delay_another_key(calls: Calls) -> None:
    turns, other = Turns(3), Calls()
    crowd = [asyncio.create_task(turns.take("a", calls)) for _ in range(100)]
    await pause(0.01)
    other.end()

    assert await turns.take("b", other) == 1
    assert calls.running == 3
    calls.end()
    await asyncio.gather(*crowd)


async def test_readers_that_wait_for_a_turn_share_one_call(calls: Calls) -> None:
    turns = Turns(3)
    asked = [asyncio.create_task(turns.share("a", calls)) for _ in range(1000)]
    await pause(0.01)
    calls.end()

    assert await asyncio.gather(*asked) == [1, 2, 3, *[4] * 997]


async def test_no_reader_gets_a_result_from_before_its_own_request(calls: Calls) -> None:
    turns = Turns(1)
    early = asyncio.create_task(turns.share("a", calls))
    await pause(0.01)
    late = [asyncio.create_task(turns.share("a", calls)) for _ in range(2)]
    await pause(0.01)
    calls.end()

    assert await early == 1
    assert await asyncio.gather(*late) == [2, 2]


async def test_a_reader_that_gives_up_leaves_the_call_to_the_others(calls: Calls) -> None:
    turns = Turns(1)
    held = asyncio.create_task(turns.take("a", calls))
    await pause(0.01)
    leader, *others = [asyncio.create_task(turns.share("a", calls)) for _ in range(4)]
    await pause(0.01)
    leader.cancel()
    others.pop().cancel()
    await pause(0.01)
    calls.end()

    assert await asyncio.gather(held, *others) == [1, 2, 2]
    assert leader.cancelled()


async def test_a_reader_that_gives_up_during_the_call_leaves_it_to_the_others(calls: Calls) -> None:
    turns = Turns(1)
    leader = asyncio.create_task(turns.share("a", calls))
    await pause(0.01)
    # These wait for a shared call, and the reader that makes it gives up in the middle.
    second, third = (asyncio.create_task(turns.share("a", calls)) for _ in range(2))
    await pause(0.01)
    leader.cancel()
    await pause(0.01)
    assert calls.begun == 2

    second.cancel()
    await pause(0.01)
    calls.end()
    assert await third == 3


async def test_an_error_reaches_all_readers_that_share_the_call(calls: Calls) -> None:
    turns = Turns(1)
    calls.error = LookupError("gone")
    asked = [asyncio.create_task(turns.share("a", calls)) for _ in range(50)]
    await pause(0.01)
    calls.end()
    results = await asyncio.gather(*asked, return_exceptions=True)

    assert {type(one) for one in results} == {LookupError}
    assert calls.begun == 2


@pytest.mark.parametrize("how", [Turns.take, Turns.share])
async def test_keys_that_nobody_uses_take_no_memory(calls: Calls, how: Callable[..., object]) -> None:
    turns = Turns(2)
    bound = getattr(turns, how.__name__)
    asked = [asyncio.create_task(bound(str(n % 10), calls)) for n in range(100)]
    await pause(0.01)
    assert len(turns) == 10

    for one in asked[::2]:
        one.cancel()

    calls.end()
    await asyncio.gather(*asked, return_exceptions=True)
    assert len(turns) == 0
