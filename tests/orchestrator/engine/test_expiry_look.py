"""Whether an engine ends plain promises at their deadline: seen on real engines, and never taken for granted."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel
from resonate.connections import LocalConnection
from resonate.resonate import Resonate
from resonate.types import PromiseRecord
from support.plant import pause, plant
from support.skipping import SKIPPING

from orchestrator import Context, open_callback, workflow
from orchestrator.engine.expiry_look import LIVES, PATIENCE, ends_plain_promises
from orchestrator.engine.promises import Promises
from orchestrator.errors import EngineUnavailable

if TYPE_CHECKING:
    from pathlib import Path

    from resonate.types import PromiseState


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return SKIPPING


class Store:
    """An engine of promises that are read as this state, and what was asked of it."""

    def __init__(self, state: PromiseState = "rejected_timedout", *, away: int = 0, told: Any = None) -> None:
        self.created: list[str] = []
        self.lives: list[float] = []
        self.read: list[str] = []
        self._state = state
        self._away = away
        self._told = told

    async def create(self, promise_id: str, *, timeout_at: int, param: Any, tags: Any) -> None:
        if self._away:
            self._away -= 1
            raise EngineUnavailable("away")

        assert param is None
        assert (tags["resonate:external"], set(tags) & {"resonate:target", "resonate:timer"}) == ("true", set())
        self.created.append(promise_id)
        self.lives.append(timeout_at / 1000 - time_now())

    async def get(self, promise_id: str) -> PromiseRecord:
        self.read.append(promise_id)

        return PromiseRecord(id=promise_id, state=self._state, timeout_at=0)

    async def listen(self, promise_id: str) -> Any:
        assert promise_id not in self.read
        begun = time_now()

        return SimpleNamespace(done=lambda: self._told is not None and time_now() - begun >= self._told)

    async def look(self) -> bool:
        promises: Any = self

        return await ends_plain_promises(promises, self.listen, clock=time_now)


def time_now() -> float:
    return asyncio.get_running_loop().time()


async def test_an_engine_that_tells_of_the_end_ends_plain_promises() -> None:
    store = Store(told=1.5)

    assert await store.look()
    assert store.created == store.read


async def test_an_engine_that_tells_of_nothing_is_asked_for_nothing_until_it_has_had_its_time() -> None:
    store = Store()
    begun = time_now()

    assert not await store.look()
    assert store.lives == pytest.approx(LIVES, abs=0.01)
    assert time_now() - begun >= sum(LIVES) + len(LIVES) * PATIENCE


async def test_a_promise_that_is_over_when_it_is_listened_to_tells_nothing() -> None:
    assert not await Store(told=0).look()


async def test_an_end_that_was_not_the_deadlines_tells_nothing() -> None:
    assert not await Store("resolved", told=0.5).look()


async def test_an_engine_that_is_away_is_looked_at_when_it_is_back() -> None:
    store = Store(told=1.5, away=20)

    assert await store.look()
    assert len(store.created) == 1


async def test_the_sdks_own_engine_does_not_end_plain_promises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.engine.expiry_look.LIVES", (1.0,))
    connection = LocalConnection(clock=lambda: int(time_now() * 1000))
    resonate = Resonate(network=connection, env={}, subscription_refresh_secs=0)

    try:
        promises = Promises(resonate.promises, seconds=5)
        assert not await ends_plain_promises(promises, resonate.get, clock=time_now)
    finally:
        await resonate.stop()

    (promise,) = connection.state.promises.values()
    # The last read has ended it, and the handle with it.
    assert promise.state == "rejected_timedout"


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_engines_are_known_to_end_plain_promises_soon_after_a_worker_has_started(
    tmp_path: Path, engine_url: str
) -> None:
    begun = time.monotonic()

    async with plant(tmp_path, engine_url, looking=True) as works:
        assert works.engine._ends_plain_promises is works.engine.embedded

        while not works.engine._ends_plain_promises:
            assert time.monotonic() - begun < 30
            await pause(0.02)


class Nothing(BaseModel):
    pass


@workflow(name="waiting")
async def waiting(ctx: Context, request: Nothing) -> str:
    return (await (await open_callback(ctx, "answer", deadline=timedelta(days=1)))).kind


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_first_wait_that_a_worker_opens_has_no_task_either_and_all_of_its_time(
    tmp_path: Path, engine_url: str
) -> None:
    async with plant(tmp_path, engine_url, waiting, looking=True) as works:
        await works.start("1")
        wait = await works.opened("waiting.1:1")

    assert "resonate:timer" not in wait.tags
    assert wait.timeout_at - wait.created_at == pytest.approx(86_400_000, abs=500)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_who_takes_no_tasks_does_not_look(tmp_path: Path, engine_url: str) -> None:
    async with plant(tmp_path, engine_url, working=False) as works:
        assert works.engine._looking is None
