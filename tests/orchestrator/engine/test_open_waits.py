"""The open waits as each engine can tell them, at a bounded cost, and never a wrong number."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel
from resonate.error import ServerError
from resonate_base import ConnectorError
from support.plant import plant

from orchestrator import Context, open_callback, workflow
from orchestrator.engine.open_waits import LASTS, OpenWaits, SharedLook, waits_among, waits_by_search
from orchestrator.stored_names import OPENING

if TYPE_CHECKING:
    from pathlib import Path


class Nothing(BaseModel):
    """No input."""


@workflow(name="waiting")
async def waiting(ctx: Context, request: Nothing) -> object:
    callback = await open_callback(ctx, "answer", deadline=timedelta(days=1))
    await ctx.sleep(timedelta(seconds=0.01))
    return (await callback).kind


@pytest.mark.parametrize("engine_url", ["memory", "sqlite", "server", "postgres"], indirect=True)
async def test_open_waits_are_counted_and_answered_ones_are_not(tmp_path: Path, engine_url: str) -> None:
    async with plant(tmp_path, engine_url, waiting) as here:
        look = here.engine._open_waits
        assert look is not None
        look = getattr(look, "_look", look)  # past the time for which an answer lasts
        assert await look() == OpenWaits(count=0, oldest_at=None)

        for number in (1, 2, 3):
            await here.start(f"{number}")

        opened = [(await here.opened(f"waiting.{number}:1")).created_at for number in (1, 2, 3)]
        assert await look() == OpenWaits(count=3, oldest_at=min(opened))

        await here.answer("waiting.1:1", name="answer")
        await here.ended("1")
        found = await look()

    assert found == OpenWaits(count=2, oldest_at=min(opened[1:]))


async def test_the_embedded_engine_knows_them_after_a_restart(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/engine.db"

    async with plant(tmp_path, url, waiting) as here:
        await here.start("1")
        opened = await here.opened("waiting.1:1")

    async with plant(tmp_path, url, waiting, working=False) as here:
        assert await here.engine.open_waits() == OpenWaits(count=1, oldest_at=opened.created_at)


def test_of_no_wait_there_is_no_oldest() -> None:
    assert waits_among({}) == OpenWaits(count=0, oldest_at=None)
    assert waits_among({"a:1": 7, "b:1": 5}) == OpenWaits(count=2, oldest_at=5)


class Endless:
    """An engine with more promises than one look reads."""

    def __init__(self) -> None:
        self.searches = 0

    async def search(self, *_: object) -> Any:
        self.searches += 1

        return type("Page", (), {"promises": [], "cursor": "more"})


async def test_a_search_that_does_not_come_to_an_end_gives_no_number() -> None:
    endless = Endless()

    assert await waits_by_search(endless, OPENING) is None  # type: ignore[arg-type]
    assert endless.searches == 25


async def test_a_look_is_shared_and_lasts_for_some_seconds() -> None:
    now, looks = 1000.0, 0

    async def look() -> OpenWaits:
        nonlocal looks
        looks += 1
        await asyncio.sleep(0)
        return OpenWaits(count=looks, oldest_at=None)

    shared = SharedLook(look, seconds=5, clock=lambda: now)
    assert {found.count for found in await asyncio.gather(*(shared() for _ in range(50))) if found} == {1}

    now += LASTS - 0.1
    assert await shared() == OpenWaits(count=1, oldest_at=None)

    now += 0.1
    assert await shared() == OpenWaits(count=2, oldest_at=None)


@pytest.mark.parametrize(
    "error", [ServerError(501, "not implemented"), ConnectorError(OSError()), TimeoutError(), ValueError("no page")]
)
async def test_an_engine_that_cannot_say_gives_no_number(error: Exception) -> None:
    async def look() -> OpenWaits:
        raise error

    assert await SharedLook(look, seconds=5)() is None


async def test_an_engine_that_is_silent_gives_no_number() -> None:
    async def look() -> OpenWaits:
        await asyncio.Event().wait()
        raise AssertionError

    assert await SharedLook(look, seconds=0.01)() is None
