"""Both forms of a wait on every engine, a plain promise and a timer with a task: they end alike, side by side too."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel
from resonate.types import Value
from support.engines import resonate_server
from support.plant import Plant, pause, plant

from orchestrator import Context, open_callback, workflow
from orchestrator.callbacks.outcomes import read_settled
from orchestrator.runs.cancellation import request_cancel
from orchestrator.runs.step_view import StepView

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from resonate.types import PromiseRecord

FORMS = ("plain", "with a task")
TASK_TAGS = {"resonate:target", "resonate:timer", "resonate:delay"}


class Request(BaseModel):
    """For how many seconds these workflows wait."""

    deadline: float = 3600


@workflow()
async def one_wait(ctx: Context, request: Request) -> str:
    """Wait once."""
    return (await (await open_callback(ctx, "only", deadline=timedelta(seconds=request.deadline)))).kind


@workflow()
async def forgetful(ctx: Context, request: Request) -> str:
    """Open a wait and end without it."""
    _ = await open_callback(ctx, "only", deadline=timedelta(seconds=request.deadline))

    return "done"


@workflow()
async def two_then_one(ctx: Context, request: Request) -> list[str]:
    """Open two waits, and a third one when the first is over."""
    deadline = timedelta(seconds=request.deadline)
    first = await open_callback(ctx, "first")
    second = await open_callback(ctx, "second", deadline=deadline)
    kinds = [(await first).kind]
    third = await open_callback(ctx, "third", deadline=deadline)

    return [*kinds, (await second).kind, (await third).kind]


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextlib.asynccontextmanager
async def opening(directory: Path, engine_url: str, flow: Any, form: str) -> AsyncIterator[Plant]:
    """Run a worker that opens waits in this form."""
    async with plant(directory, engine_url, flow) as works:
        choose(works, form)

        yield works


def choose(works: Plant, form: str) -> None:
    works.engine._ends_plain_promises = form == "plain"


def form_of(wait: PromiseRecord) -> str:
    """Return the form that a wait has been opened in."""
    tags = TASK_TAGS & set(wait.tags)
    assert tags in (set(), TASK_TAGS)

    return "with a task" if tags else "plain"


def expired(wait: PromiseRecord) -> bool:
    """Whether everything that reads the record says that it has expired."""
    settled = read_settled(wait, callback="only")
    assert settled is not None
    assert (settled.outcome.by, settled.settled_at) == ("deadline", wait.timeout_at)

    return (settled.outcome.kind, StepView.read(wait).state) == ("expired", "expired")


async def test_an_answer_ends_a_wait(tmp_path: Path, engine_url: str, form: str) -> None:
    async with opening(tmp_path, engine_url, one_wait, form) as works:
        await works.start("a")
        wait = await works.opened("one_wait.a:1")

        assert form_of(wait) == form
        assert (await works.answer(wait.id, name="only")).verdict == "applied"
        assert await works.ended("a") == ("succeeded", "succeeded")


async def test_a_wait_ends_at_its_deadline(tmp_path: Path, engine_url: str, form: str) -> None:
    async with opening(tmp_path, engine_url, one_wait, form) as works:
        await works.start("a", deadline=1)

        assert await works.ended("a") == ("succeeded", "expired")

        (wait,) = await works.steps("a")

        assert form_of(wait) == form
        assert wait.state == ("rejected_timedout" if form == "plain" else "resolved")
        assert expired(wait)
        assert (await works.answer(wait.id, name="only")).verdict == "closed"


async def test_a_wait_ends_at_its_deadline_while_no_worker_is_there(tmp_path: Path, engine_url: str, form: str) -> None:
    if engine_url == "memory://":
        pytest.skip("what it holds ends with the process")

    async with opening(tmp_path, engine_url, one_wait, form) as works:
        await works.start("a", deadline=1)
        wait = await works.opened("one_wait.a:1")

    await pause(max(0, wait.timeout_at / 1000 - works.now()) + 0.3)

    async with plant(tmp_path, engine_url, one_wait) as works:
        assert await works.ended("a") == ("succeeded", "expired")
        assert expired(await works.engine.promises.get(wait.id))


async def test_a_wait_is_withdrawn_with_its_workflow(tmp_path: Path, engine_url: str, form: str) -> None:
    async with opening(tmp_path, engine_url, forgetful, form) as works:
        await works.start("a")

        assert await works.ended("a") == ("succeeded", "done")

        settled = read_settled(await works.engine.promises.get("forgetful.a:1"), callback="only")

    assert settled is not None
    assert (settled.outcome.kind, settled.outcome.by) == ("cancelled", "workflow")


async def test_a_cancel_ends_a_wait(tmp_path: Path, engine_url: str, form: str) -> None:
    async with opening(tmp_path, engine_url, one_wait, form) as works:
        await works.start("a")
        await works.opened("one_wait.a:1")
        await request_cancel(works.engine, works.root("a"))

        assert await works.ended("a") == ("cancelled", "cancelled")


@pytest.mark.parametrize("state", ["rejected", "rejected_canceled"])
async def test_a_rejection_that_is_not_the_deadlines_is_no_expiry(
    tmp_path: Path, engine_url: str, form: str, state: str
) -> None:
    async with opening(tmp_path, engine_url, one_wait, form) as works:
        await works.start("a")
        wait = await works.opened("one_wait.a:1")
        promises = works.engine.resonate.promises
        await (promises.reject(wait.id, Value()) if state == "rejected" else works.engine.promises.cancel(wait.id))

        assert await works.ended("a") == ("succeeded", "cancelled")


@pytest.mark.parametrize("later", FORMS)
async def test_a_workflow_goes_on_with_waits_of_both_forms_after_a_restart(
    tmp_path: Path, engine_url: str, form: str, later: str
) -> None:
    if engine_url == "memory://":
        pytest.skip("what it holds ends with the process")

    root = "two_then_one.a"

    async with opening(tmp_path, engine_url, two_then_one, form) as works:
        await works.start("a", deadline=3)
        first = await works.opened(f"{root}:1")
        second = await works.opened(f"{root}:2")

    async with opening(tmp_path, engine_url, two_then_one, later) as works:
        await works.answer(first.id, name="first")
        await works.opened(f"{root}:3")
        await works.answer(f"{root}:3", name="third")

        assert await works.ended("a") == ("succeeded", ["succeeded", "expired", "succeeded"])

        waits = await works.steps("a")

    assert [form_of(wait) for wait in waits] == [form, form, later]
    assert [wait.created_at for wait in waits[:2]] == [first.created_at, second.created_at]
    assert expired(waits[1])


@pytest.mark.slow
async def test_an_open_wait_is_delivered_to_nobody_where_it_has_no_task(tmp_path: Path, form: str) -> None:
    with resonate_server(tmp_path) as server:
        async with opening(tmp_path, server.url, one_wait, form) as works:
            announced: list[str] = []
            source: Any = works.engine.resonate._source
            source.recv(announced.append)

            for number in range(5):
                await works.start(str(number))
                await works.opened(f"one_wait.{number}:1")

            await pause(1.5)

    waits = [message for message in announced if ":1" in message]
    assert len(announced) - len(waits) == 5
    assert (len(waits) >= 5) == (form == "with a task")
