"""Who cancelled a run and why is kept beside it, on every engine: the first who asked, and for that very run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from resonate.types import PromiseRecord
from support.plant import plant

from orchestrator.runs.cancel_note import MAX_REASON, CancelNote, note_cancel, read_cancel_note
from orchestrator.stored_names import NONCE_TAG

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from orchestrator.engine.promises import Promises

NOW = 4_000_000_000.0


def root(nonce: str) -> PromiseRecord:
    return PromiseRecord(id="flow.one", state="pending", timeout_at=1, created_at=1, tags={NONCE_TAG: nonce})


ROOT = root("a")


@pytest.fixture
async def promises(tmp_path: Path, engine_url: str) -> AsyncIterator[Promises]:
    async with plant(tmp_path, engine_url, working=False) as one:
        yield one.engine.promises


async def cancel(promises: Promises, by: str, reason: str = "", now: float = NOW) -> None:
    await note_cancel(promises, ROOT, by=by, reason=reason, clock=lambda: now)


async def test_the_first_who_asks_is_kept(promises: Promises) -> None:
    assert await read_cancel_note(promises, ROOT) is None
    await cancel(promises, "ada", "a wrong order")
    await cancel(promises, "bob", "too late", now=NOW + 60)

    assert await read_cancel_note(promises, ROOT) == CancelNote(by="ada", reason="a wrong order", at=int(NOW * 1000))


async def test_a_later_run_with_the_same_id_has_no_note_of_the_earlier_one(promises: Promises) -> None:
    await cancel(promises, "ada")

    assert await read_cancel_note(promises, root("b")) is None


async def test_a_long_reason_is_cut(promises: Promises) -> None:
    await cancel(promises, "ada", "x" * (MAX_REASON + 1))
    note = await read_cancel_note(promises, ROOT)

    assert note
    assert note.reason == "x" * MAX_REASON
