"""Each end of a workflow is one log line and one count, made by the process that ended it, and quotes no body."""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel
from support.configuration import settings
from support.plant import PATIENCE, pause, plant, worker

from orchestrator import Context, WorkflowCancelled, WorkflowExpired, WorkflowFailed, open_callback, workflow
from orchestrator.runs.cancellation import request_cancel
from orchestrator.runs.end_log import EndLog
from orchestrator.runs.roots import Ending

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchestrator.runs.definition import Workflow

BODY = "a-body-that-no-line-may-hold"
LITERAL = "the balance does not cover it"


class Said(BaseModel):
    text: str = BODY


def ending(end: Callable[[str], object]) -> Workflow[Said]:
    @workflow(name="ending")
    async def body(ctx: Context, request: Said) -> object:
        return end(request.text)

    return body


def literally(text: str) -> None:
    raise WorkflowFailed("the balance does not cover it")


def quoting(text: str) -> None:
    raise WorkflowFailed(f"the job said {text}", details=text)


def dying(text: str) -> None:
    raise WorkflowFailed(text, outcome="died", run_id=text)


def made_up(text: str) -> None:
    raise WorkflowFailed(text, outcome=text)


def cancelled(text: str) -> None:
    raise WorkflowCancelled(text)


def expired(text: str) -> None:
    raise WorkflowExpired(text)


def crashing(text: str) -> int:
    return int(text)


def lines(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "orchestrator.runs.end_log"]


async def only_line(caplog: pytest.LogCaptureFixture) -> logging.LogRecord:
    """Return the line of an end, once it is there: it is written after the end can be seen in the engine."""
    for _ in range(int(PATIENCE * 50)):
        if lines(caplog):
            break

        await pause(0.02)

    (record,) = lines(caplog)
    return record


@pytest.mark.parametrize(
    ("end", "shown"),
    [
        (len, ("INFO", "succeeded", None)),
        (literally, ("WARNING", "failed", f"WorkflowFailed: {LITERAL} at test_end_log.py:")),
        (quoting, ("WARNING", "failed", "WorkflowFailed at test_end_log.py:")),
        (dying, ("WARNING", "failed", "WorkflowFailed at test_end_log.py:")),
        (made_up, ("WARNING", "failed", "WorkflowFailed at test_end_log.py:")),
        (cancelled, ("INFO", "cancelled", "WorkflowCancelled at test_end_log.py:")),
        (expired, ("WARNING", "expired", "WorkflowExpired at test_end_log.py:")),
        (crashing, ("ERROR", "failed", "builtins.ValueError at ")),
        (lambda _: float("nan"), ("ERROR", "failed", "result is NaN, which JSON cannot hold")),
    ],
)
async def test_an_end_is_one_line_with_its_state_its_error_and_its_seconds(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    end: Callable[[str], object],
    shown: tuple[str, str, str | None],
) -> None:
    level, state, error = shown
    caplog.set_level(logging.DEBUG)

    async with plant(tmp_path, "memory://", ending(end)) as here:
        await here.start("a:b")
        await here.ended("a;b")
        record = await only_line(caplog)
        assert here.engine.counts.of("workflows_ended") == {("ending", state): 1}
        assert here.engine.counts.of("workflows_started") == {("ending",): 1}

    fields: dict[str, Any] = record.fields  # type: ignore[attr-defined]
    assert record.levelname == level
    assert (fields["workflow"], fields["id"], fields["state"]) == ("ending", "a:b", state)
    assert 0 <= fields["seconds"] < PATIENCE
    assert record.getMessage().startswith(f"workflow ending.a:b {state}")
    assert ("error" in fields) is (error is not None)
    assert error is None or (fields["error"].startswith(error) and fields["error"] in record.getMessage())
    assert "died" in record.getMessage() if end is dying else "died" not in record.getMessage()
    assert BODY not in caplog.text


@workflow(name="waiting", timeout=timedelta(seconds=1))
async def waiting(ctx: Context, request: Said) -> object:
    return (await (await open_callback(ctx, "answer", deadline=timedelta(days=1)))).kind


async def test_each_end_is_logged_once_on_every_engine(
    tmp_path: Path, engine_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    async with plant(tmp_path, engine_url, ending(quoting)) as here:
        await asyncio.gather(*(here.start(f"{number}") for number in range(5)))
        await asyncio.gather(*(here.ended(f"{number}") for number in range(5)))
        await pause(0.5)

    assert sorted(record.fields["id"] for record in lines(caplog)) == list("01234")  # type: ignore[attr-defined]
    assert {record.fields["state"] for record in lines(caplog)} == {"failed"}  # type: ignore[attr-defined]


async def test_a_workflow_that_reaches_its_own_timeout_is_logged_by_the_embedded_engine(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    async with plant(tmp_path, f"sqlite:///{tmp_path}/engine.db", waiting) as here:
        await here.start("1")
        assert (await here.ended("1"))[0] == "expired"
        record = await only_line(caplog)
        assert here.engine.counts.of("workflows_ended") == {("waiting", "expired"): 1}

    assert record.getMessage().startswith("workflow waiting.1 expired: the workflow reached its own timeout (1.")


async def test_a_cancel_is_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    @workflow(name="asking")
    async def asking(ctx: Context, request: Said) -> object:
        outcome = await (await open_callback(ctx, "answer", deadline=timedelta(days=1)))
        raise WorkflowCancelled(f"the wait ended {outcome.kind}")

    async with plant(tmp_path, "memory://", asking) as here:
        await here.start("1")
        await here.opened("asking.1:1")
        await request_cancel(here.engine, "asking.1")
        assert (await here.ended("1"))[0] == "cancelled"
        record = await only_line(caplog)

    assert record.fields["state"] == "cancelled"  # type: ignore[attr-defined]


async def test_an_end_that_the_engine_did_not_record_is_not_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody else ended the workflow while its code ran: the engine keeps that end."""
    caplog.set_level(logging.INFO)
    reached, go_on = asyncio.Event(), asyncio.Event()

    @workflow(name="slow")
    async def slow(ctx: Context, request: Said) -> str:
        reached.set()
        await go_on.wait()
        return "mine"

    async with plant(tmp_path, "memory://", slow) as here:
        await here.start("1")
        await reached.wait()
        await here.engine.promises.resolve("slow.1", Ending.failed("theirs").stored())
        go_on.set()
        await pause(0.5)

    assert lines(caplog) == []


async def test_what_was_ended_before_a_crash_is_not_logged_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    chosen = settings(tmp_path, f"sqlite:///{tmp_path}/engine.db")

    async with plant(tmp_path, f"sqlite:///{tmp_path}/engine.db", ending(len)) as here:
        chosen = here.settings
        await here.start("1")
        await here.ended("1")
        await only_line(caplog)

    async with worker(tmp_path, chosen, [ending(len)]) as engine:
        assert (await engine.promises.get("ending.1")).state == "resolved"
        await pause(0.3)

    assert len(lines(caplog)) == 1


async def test_what_returned_and_is_never_recorded_does_not_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("orchestrator.runs.end_log._MOST_UNRECORDED", 3)

    async with plant(tmp_path, "memory://", ending(len)) as here:
        ends = EndLog(here.engine.counts)

        for number in range(10):
            ends.returned(f"ending.{number}", Ending.succeeded(json.loads("1")))

        assert len(ends._returned) == 3
