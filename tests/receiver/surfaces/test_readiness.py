"""Readiness: one probe for all who ask at once, remembered for a second, with a time limit whatever the engine does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from support.edge import Edge, edge, problem
from support.plant import PATIENCE, pause

from orchestrator.errors import EngineUnavailable
from receiver.surfaces import readiness
from receiver.surfaces.readiness import Readiness

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from conftest import Start


class Engine:
    """An engine that responds only when the test says so; its clock is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0
        self.asked = 0
        self.answer = asyncio.Event()
        self.error: Exception | None = None
        self.readiness = Readiness(self.check, seconds=30, clock=lambda: self.now)

    async def check(self) -> None:
        self.asked += 1
        await self.answer.wait()

        if self.error is not None:
            raise self.error

    async def outcomes(self, number: int = 1) -> set[str]:
        """Return the results of so many simultaneous requests."""
        told = await asyncio.gather(*(self.readiness.wait() for _ in range(number)), return_exceptions=True)

        return {"ready" if one is None else str(one) for one in told}


@pytest.fixture
async def engine() -> Engine:
    return Engine()


@pytest.mark.parametrize("error", [None, EngineUnavailable("it is away")])
async def test_thousands_at_once_cost_one_probe(engine: Engine, error: Exception | None) -> None:
    engine.error = error
    engine.answer.set()

    assert await engine.outcomes(4000) == {"ready" if error is None else "it is away"}
    assert engine.asked == 1


@pytest.mark.parametrize("error", [None, EngineUnavailable("it is away")])
async def test_an_answer_is_remembered_for_a_second_and_no_longer(engine: Engine, error: Exception | None) -> None:
    engine.error = error
    engine.answer.set()
    first = await engine.outcomes()
    engine.now += 0.999
    engine.error = EngineUnavailable("another") if error is None else None

    assert await engine.outcomes() == first
    assert engine.asked == 1

    engine.now += 0.001
    assert await engine.outcomes() == {"another" if error is None else "ready"}
    assert engine.asked == 2


async def test_the_second_begins_with_the_answer_not_with_the_question(engine: Engine) -> None:
    asking = asyncio.create_task(engine.outcomes())
    await pause(0)
    engine.now += 5
    engine.answer.set()
    await asking
    engine.now += 0.5
    await engine.outcomes()

    assert engine.asked == 1


async def test_a_clock_that_goes_backwards_makes_no_answer_last(engine: Engine) -> None:
    engine.answer.set()
    await engine.outcomes()
    engine.now -= 50
    await engine.outcomes()

    assert engine.asked == 2


async def test_those_who_leave_do_not_end_the_probe_of_the_others(engine: Engine) -> None:
    first, second, third = (asyncio.create_task(engine.readiness.wait()) for _ in range(3))
    await pause(0.01)
    first.cancel()
    second.cancel()
    await asyncio.wait({first, second})
    engine.answer.set()
    await third

    assert first.cancelled()
    assert engine.asked == 1


async def test_a_probe_whose_askers_have_all_left_still_answers_the_next_one(engine: Engine) -> None:
    only = asyncio.create_task(engine.readiness.wait())
    await pause(0.01)
    only.cancel()
    await asyncio.wait({only})
    engine.answer.set()

    assert await engine.outcomes() == {"ready"}
    assert engine.asked == 1


async def test_a_probe_that_hangs_is_bounded_even_if_it_cannot_be_cancelled() -> None:
    released = asyncio.Event()

    async def stubborn() -> None:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue

        raise EngineUnavailable("too late")

    bounded = Readiness(stubborn, seconds=0.05)
    asked = [asyncio.create_task(bounded.wait()) for _ in range(100)]
    told, waiting = await asyncio.wait(asked, timeout=10)
    released.set()
    await asyncio.wait(asked)

    assert not waiting
    assert {str(one.exception()) for one in told} == {"the engine did not answer within 0.05 s"}


async def test_a_fault_of_ours_is_not_taken_for_an_engine_that_is_away(engine: Engine) -> None:
    engine.error = ZeroDivisionError("ours")
    engine.answer.set()

    with pytest.raises(ZeroDivisionError):
        await engine.readiness.wait()


async def test_the_log_says_why_once_and_when_it_is_over(engine: Engine, start: Start) -> None:
    stream = start("info")
    engine.error = EngineUnavailable("it is away", detail="no route to db.internal")
    engine.answer.set()

    for _ in range(3):
        await engine.outcomes(10)
        engine.now += 2

    engine.error = None
    await engine.outcomes()
    lines = [line.partition("receiver.surfaces.readiness ")[2] for line in stream.getvalue().splitlines()]

    assert lines == ["not ready: it is away no route to db.internal", "ready: the engine answers"]


# -- over HTTP ----------------------------------------------------------------


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Edge]:
    async with edge(tmp_path) as one:
        yield one


async def test_readyz_asks_the_engine_once_for_all(here: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    get = here.engine.promises.get

    async def counted(promise_id: str) -> Any:
        asked.append(promise_id)
        await pause(0.01)
        return await get(promise_id)

    monkeypatch.setattr(here.engine.promises, "get", counted)
    answers = await asyncio.gather(*(here.client.get("/readyz") for _ in range(500)))

    assert {answer.status_code for answer in answers} == {200}
    assert len(asked) == 1


async def test_an_engine_that_is_away_is_503_for_all(here: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def away(promise_id: str) -> Any:
        asked.append(promise_id)
        raise EngineUnavailable("the engine did not answer within 5 s")

    monkeypatch.setattr(here.engine.promises, "get", away)
    for answer in await asyncio.gather(*(here.client.get("/readyz") for _ in range(100))):
        problem(answer, 503, "engine-unavailable")
        assert answer.headers["retry-after"]

    assert len(asked) == 1


@pytest.mark.parametrize("status", [200, 503])
async def test_readyz_remembers_what_the_engine_said(here: Edge, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    asked: list[str] = []
    get = here.engine.promises.get

    async def counted(promise_id: str) -> Any:
        asked.append(promise_id)

        if status != 200:
            raise EngineUnavailable("the engine did not answer within 5 s")

        return await get(promise_id)

    monkeypatch.setattr(here.engine.promises, "get", counted)
    # Longer than a second, so that no machine is too slow.
    monkeypatch.setattr(readiness, "REMEMBERED", PATIENCE)
    answers = [await here.client.get("/readyz") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [status] * 3
    assert len(asked) == 1

    monkeypatch.setattr(readiness, "REMEMBERED", 0)
    await here.client.get("/readyz")
    assert len(asked) == 2
