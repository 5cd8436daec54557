"""The SDK's own lines say what happened: no fault where there is none, and no failure of what goes on."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import resonate.core
from pydantic import BaseModel
from resonate.error import PlatformError, ServerError
from support.plant import plant

from orchestrator import Context, open_callback, workflow
from orchestrator.engine import sdk_events
from orchestrator.engine.sdk_events import correct_lines

if TYPE_CHECKING:
    from conftest import Start


class Nothing(BaseModel):
    """No input."""


@workflow(name="leaving")
async def leaving(ctx: Context, request: Nothing) -> str:
    """Ends while its wait is open."""
    _ = await open_callback(ctx, "answer", deadline=timedelta(days=1))
    return "done"


async def test_a_workflow_that_ends_while_a_wait_is_open_is_no_fault(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    async with plant(tmp_path, "memory://", leaving) as here:
        await here.start("1")
        assert (await here.ended("1"))[0] == "succeeded"

    assert "resonate.core" not in {record.name for record in caplog.records}


async def test_a_workflow_that_the_engine_did_not_hear_of_is_said_to_go_on(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = start("info")

    async with plant(tmp_path, "memory://", leaving) as here:
        sender = here.engine.resonate._sender
        fulfill, broken = sender.task_fulfill, asyncio.Event()

        async def fail_once(*arguments: object) -> object:
            if broken.is_set():
                return await fulfill(*arguments)  # type: ignore[arg-type]

            broken.set()
            raise ServerError(500, "a body")

        monkeypatch.setattr(sender, "task_fulfill", fail_once)
        await here.start("1")
        assert (await here.ended("1"))[0] == "succeeded"

    lines = [line for line in stream.getvalue().splitlines() if " resonate.core " in line]
    assert len(lines) == 1
    assert " WARNING resonate.core leaving.1 stopped before its end and is delivered again" in lines[0]
    assert "ServerError 500" in lines[0]
    assert "a body" not in lines[0]


@workflow(name="late", timeout=timedelta(seconds=1))
async def late(ctx: Context, request: Nothing) -> None:
    """Is over before its step is."""
    await ctx.run(rest)


async def rest(_: Context) -> None:
    await asyncio.sleep(1.5)


async def test_a_workflow_whose_code_runs_on_after_its_timeout_is_no_fault(tmp_path: Path, start: Start) -> None:
    stream = start("info")

    async with plant(tmp_path, "memory://", late) as here:
        await here.start("1")
        assert (await here.ended("1"))[0] == "expired"

    assert "workflow late.1 expired" in stream.getvalue()
    (line,) = [line for line in stream.getvalue().splitlines() if " resonate.core " in line]
    assert line.endswith(" INFO resonate.core late.1 was ended, or taken over, while its code ran here")


async def test_a_conflict_beside_another_failure_is_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    correct_lines()

    for causes in ([ServerError(409, "a")], [ServerError(409, "a"), ServerError(500, "b")]):
        logging.getLogger("resonate.core").error(
            "core: execution failed, releasing task task_id=%s", "a.1", exc_info=PlatformError([*causes])
        )

    assert [record.levelname for record in caplog.records if record.levelno >= logging.WARNING] == ["WARNING"]


def test_the_sdk_still_writes_these_lines() -> None:
    source = Path(resonate.core.__file__).read_text()

    for beginning in (*sdk_events._NO_FAULT, sdk_events._GIVEN_UP, sdk_events._NOT_GIVEN_BACK):
        assert f'"{beginning}' in source


def test_other_lines_pass_as_they_are(caplog: pytest.LogCaptureFixture) -> None:
    correct_lines()
    logger = logging.getLogger("resonate.core")
    logger.error("core: failed to release task after error task_id=%s", "a.1")
    logger.error("core: execution failed, releasing task")

    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
