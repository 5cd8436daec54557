from __future__ import annotations

import asyncio

from orchestrator.testing.trial.hand_clock import HandClock

NOW = 1_700_000_000_000


async def test_it_stands_still_until_it_is_moved_and_never_goes_back() -> None:
    clock = HandClock(NOW)
    assert (clock(), clock.seconds()) == (NOW, NOW / 1000)
    clock.move(NOW + 5)
    clock.move(NOW)
    assert clock() == NOW + 5


async def test_sleeps_end_in_order_when_it_gets_there() -> None:
    clock = HandClock(NOW)
    ended: list[str] = []

    async def nap(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        ended.append(name)

    naps = [asyncio.ensure_future(nap(name, seconds)) for name, seconds in (("b", 2), ("a", 1), ("c", 3600), ("0", 0))]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert ended == ["0"]
    assert clock.next_due() == NOW + 1000
    clock.move(NOW + 2000)
    await asyncio.sleep(0)
    assert ended == ["0", "a", "b"]

    naps[2].cancel()
    await asyncio.gather(*naps, return_exceptions=True)
    assert clock.next_due() is None


async def test_a_part_of_a_millisecond_counts_as_a_whole_one() -> None:
    clock = HandClock(NOW)
    nap = asyncio.ensure_future(clock.sleep(0.0001))
    await asyncio.sleep(0)
    assert clock.next_due() == NOW + 1
    nap.cancel()


async def test_a_call_is_made_when_it_gets_there_and_not_if_it_was_cancelled() -> None:
    clock = HandClock(NOW)
    made: list[str] = []
    clock.call_later(1, lambda: made.append("a"))
    clock.call_later(1, lambda: made.append("b")).cancel()
    assert clock.next_due() == NOW + 1000
    await asyncio.sleep(0)
    assert made == []
    clock.move(NOW + 1000)
    await asyncio.sleep(0)
    assert made == ["a"]
