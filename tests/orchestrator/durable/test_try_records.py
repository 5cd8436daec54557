"""The failed tries of a step in the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.configuration import settings

from orchestrator.durable.try_records import TryRecords, read_tries
from orchestrator.engine import connect

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from orchestrator.engine import Engine

STEP = "w.1:2"


async def begun(tmp_path: Path) -> Engine:
    engine = await connect(settings(tmp_path, "memory://"), work=True)
    await engine.promises.create(STEP, timeout_at=2**42, param=None, tags={})

    return engine


async def fail(records: TryRecords, times: int) -> None:
    for _ in range(times):
        number = await records.next_number()
        await records.add(number, at=number * 10, error=f"error {number}", next_at=number * 10 + 1)


async def test_the_last_tries_are_read_back_and_counted_on(tmp_path: Path) -> None:
    engine = await begun(tmp_path)
    await fail(TryRecords(engine.promises, STEP, clock=engine.clock), 3)
    await fail(TryRecords(engine.promises, STEP, clock=engine.clock), 4)
    kept = await read_tries(engine.promises, await engine.promises.get(STEP))

    assert [each.number for each in kept] == [3, 4, 5, 6, 7]
    assert (kept[-1].at, kept[-1].error, kept[-1].next_at) == (70, "error 7", 71)

    await engine.stop()


async def test_a_try_before_its_time_or_after_the_last_one_takes_the_place_of_the_recorded_one(tmp_path: Path) -> None:
    engine = await begun(tmp_path)
    records = TryRecords(engine.promises, STEP, clock=lambda: 1.0)
    assert await records.next_number() == 1
    assert records.due is None
    await records.add(1, at=1000, error="lost", next_at=3000)

    early = TryRecords(engine.promises, STEP, clock=lambda: 2.0)
    assert (await early.next_number(), early.due) == (1, 3000)
    assert (await early.next_number(), early.due) == (2, None)

    late = TryRecords(engine.promises, STEP, clock=lambda: 3.0)
    assert (await late.next_number(), late.due) == (2, None)
    await late.add(2, at=3000, error="lost", next_at=None)

    again = TryRecords(engine.promises, STEP, clock=lambda: 9.0)
    assert (await again.next_number(), again.due) == (2, None)

    await engine.stop()


async def test_of_very_many_tries_only_some_are_recorded(tmp_path: Path) -> None:
    engine = await begun(tmp_path)
    await fail(TryRecords(engine.promises, STEP, clock=engine.clock), 40)

    assert [each.number for each in await read_tries(engine.promises, await engine.promises.get(STEP))] == [
        *(6, 7, 8, 16, 32),
    ]

    await engine.stop()


async def test_what_somebody_else_wrote_under_such_an_id_is_no_try(tmp_path: Path) -> None:
    engine = await begun(tmp_path)
    step = await engine.promises.get(STEP)
    await engine.promises.create(
        f"w.1~2~{step.created_at}~try1", timeout_at=2**42, param={"try": 1, "error": "<b>"}, tags={}
    )

    assert await read_tries(engine.promises, step) == []

    await engine.stop()


async def test_tries_that_cannot_be_recorded_are_counted_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = await connect(settings(tmp_path, "memory://"), work=True)
    records = TryRecords(engine.promises, STEP, clock=engine.clock)

    assert [await records.next_number(), await records.next_number()] == [1, 2]
    assert f"a failed try of {STEP} could not be recorded" in caplog.text

    nothing = TryRecords(engine.promises, None, clock=engine.clock)
    await fail(nothing, 2)

    assert await nothing.next_number() == 3

    await engine.stop()
