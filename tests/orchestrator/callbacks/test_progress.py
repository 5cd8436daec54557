"""What a job says of its progress, in the store of each engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.configuration import settings

from orchestrator.callbacks import progress
from orchestrator.callbacks.progress import Progress, read_progress, record_progress
from orchestrator.durable.opened_at import companion_id
from orchestrator.durable.scheduling import own_tags
from orchestrator.engine import connect
from orchestrator.errors import UnknownPromise
from orchestrator.stored_names import OPENING

if TYPE_CHECKING:
    from pathlib import Path

    from resonate.types import PromiseRecord

    from orchestrator.engine import Engine

HOUR = 3_600_000
YEAR = 365 * 24 * HOUR


async def opened(engine: Engine, promise_id: str = "w.1") -> PromiseRecord:
    tags = {**own_tags(promise_id), **OPENING}

    return await engine.promises.create(promise_id, timeout_at=2**42, param=None, tags=tags)


async def say(engine: Engine, wait: PromiseRecord, fraction: float, *, after: int, message: str = "") -> int:
    """Report progress so many milliseconds after the wait was opened."""
    report = Progress.reported(fraction, message, at=wait.created_at + after)

    return await record_progress(engine.promises, wait, report)


async def last(engine: Engine, wait: PromiseRecord) -> tuple[float | None, str] | None:
    read = await read_progress(engine.promises, wait)

    return None if read is None else (read.fraction, read.message)


async def test_the_newest_report_is_read_on_every_engine(tmp_path: Path, engine_url: str) -> None:
    engine = await connect(settings(tmp_path, engine_url), work=True)
    wait = await opened(engine)
    assert await last(engine, wait) is None

    for number in range(1, 8):
        await say(engine, wait, number / 10, after=number * 10_000, message=f"table {number}")
        assert await last(engine, wait) == (number / 10, f"table {number}")

    await engine.stop()


async def test_a_report_that_comes_too_early_is_passed_over(tmp_path: Path) -> None:
    engine = await connect(settings(tmp_path, "memory://"), work=True)
    wait = await opened(engine)
    assert await say(engine, wait, 0.1, after=0) == 10_000
    assert await say(engine, wait, 0.2, after=9_000) == 1_000
    assert await last(engine, wait) == (0.1, "")

    assert await say(engine, wait, 0.3, after=10_000) == 10_000
    assert await last(engine, wait) == (0.3, "")


async def test_the_longer_a_wait_is_open_the_longer_are_the_pauses(tmp_path: Path) -> None:
    engine = await connect(settings(tmp_path, "memory://"), work=True)
    wait = await opened(engine)
    after, recorded = 0, 0

    while after < YEAR:
        after += await say(engine, wait, 0.5, after=after)
        recorded += 1

    assert recorded < progress.MOST
    assert await say(engine, wait, 1, after=after, message="at last") == pytest.approx(YEAR / 50, rel=0.1)
    assert await last(engine, wait) == (1, "at last")


async def test_no_more_than_so_many_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "MOST", 3)
    engine = await connect(settings(tmp_path, "memory://"), work=True)
    wait = await opened(engine)

    for number in range(6):
        await say(engine, wait, number / 10, after=number * HOUR)

    assert await last(engine, wait) == (0.2, "")

    with pytest.raises(UnknownPromise):
        await engine.promises.get(companion_id(wait, "progress4"))


async def test_a_report_ends_with_the_wait(tmp_path: Path) -> None:
    engine = await connect(settings(tmp_path, "memory://"), work=True)
    wait = await opened(engine)
    await say(engine, wait, 0.5, after=0)

    assert (await engine.promises.get(companion_id(wait, "progress1"))).timeout_at == wait.timeout_at


async def test_progress_of_one_wait_is_not_that_of_a_later_one_with_its_id(tmp_path: Path) -> None:
    engine = await connect(settings(tmp_path, "memory://"), work=True)
    wait, other = await opened(engine), await opened(engine, "w.2")
    await say(engine, wait, 0.5, after=0)

    assert await last(engine, other) is None


def test_a_message_is_cut_and_kept_on_one_line() -> None:
    assert Progress.reported(None, "a\n\tb\x00" + "x" * 900, at=0).message.startswith("a b")
    assert len(Progress.reported(None, "x" * 900, at=0).message) == progress.LONGEST


@pytest.mark.parametrize(
    ("fraction", "message", "text"),
    [(0.4, "the second table", "40 %: the second table"), (1.0, "", "100 %"), (None, "loading", "loading")],
)
def test_it_is_shown_in_words(fraction: float | None, message: str, text: str) -> None:
    assert str(Progress(fraction=fraction, message=message, at=0)) == text
