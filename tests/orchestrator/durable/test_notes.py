"""Notes beside a promise: written once, read back, and counted without reading them all."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from support.plant import Plant, plant

from orchestrator.durable.notes import last_note, read_note, write_note
from orchestrator.stored_names import TRANSIENT_TAG

if TYPE_CHECKING:
    from pathlib import Path


def ends_at(one: Plant) -> int:
    return int((one.now() + 3600) * 1000)


async def test_of_two_notes_at_the_same_instant_one_is_kept_and_both_writers_learn_which(
    tmp_path: Path, engine_url: str
) -> None:
    async with plant(tmp_path, engine_url) as one:
        promises = one.engine.promises
        assert await read_note(promises, "a~note") is None

        written = await asyncio.gather(
            *(write_note(promises, "a~note", {"number": number}, ends_at=ends_at(one)) for number in range(5))
        )
        kept = await read_note(promises, "a~note")
        assert kept is not None
        assert [record.param.data for record in written] == [kept.param.data] * 5
        assert (kept.state, kept.tags[TRANSIENT_TAG]) == ("pending", "true")


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 8, 9, 20])
async def test_the_last_of_a_series_is_found(tmp_path: Path, count: int) -> None:
    async with plant(tmp_path, "memory://") as one:
        promises = one.engine.promises

        for number in range(1, count + 1):
            await write_note(promises, f"a~{number}", number, ends_at=ends_at(one))

        for most in (1, 5, 8, 1000):
            number, record = await last_note(promises, "a~{}".format, most=most)
            assert number == min(count, most)
            assert (None if record is None else record.param.data) == (number or None)


async def test_finding_the_last_one_reads_few(tmp_path: Path) -> None:
    async with plant(tmp_path, "memory://") as one:
        for number in range(1, 101):
            await write_note(one.engine.promises, f"a~{number}", number, ends_at=ends_at(one))

        asked: list[int] = []

        def id_of(number: int) -> str:
            asked.append(number)
            return f"a~{number}"

        assert (await last_note(one.engine.promises, id_of))[0] == 100
        assert len(asked) <= 14
