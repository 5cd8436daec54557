"""Marks are remembered on every engine."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pytest
from support.plant import plant

from orchestrator.engine.marks import KEPT, PromiseMarks


def digest(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


async def test_a_mark_exists_once_it_was_put_and_no_other_does(tmp_path: Path, engine_url: str) -> None:
    async with plant(tmp_path, engine_url) as one:
        marks = one.engine.marks
        assert not await marks.has(digest(1))

        for _ in range(2):
            await marks.put(digest(1))
            assert await marks.has(digest(1))

        assert not await marks.has(digest(2))


async def test_a_remote_engine_keeps_a_mark_as_a_promise_for_a_year(tmp_path: Path) -> None:
    async with plant(tmp_path, "memory://") as one:
        marks = PromiseMarks(one.engine.promises)
        await marks.put(digest(1))
        record = await one.engine.promises.get(f"countersign~mark.{digest(1)[:16].hex()}")

        assert await marks.has(digest(1))
        assert record.state == "pending"
        assert record.timeout_at == pytest.approx((time.time() + KEPT.total_seconds()) * 1000, abs=60_000)


@pytest.mark.parametrize("param", [None, {}, {"countersign": 1, "mark": digest(2)[:16].hex()}, "x"])
async def test_a_foreign_promise_in_the_place_of_a_mark_does_not_count(tmp_path: Path, param: object) -> None:
    async with plant(tmp_path, "memory://") as one:
        promise_id = f"countersign~mark.{digest(1)[:16].hex()}"
        await one.engine.promises.create(promise_id, timeout_at=2**42, param=param, tags={"countersign:mark": "true"})

        assert not await PromiseMarks(one.engine.promises).has(digest(1))
