"""The tries of a step: how many, which line the log gets for each, and what the store keeps of them.

Long because a policy shows only in a workflow, and each policy needs one of its own.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel
from support.plant import plant

from orchestrator import Context, StepFailed, StepRefused, WorkflowFailed, group_step, step, workflow
from orchestrator.durable import policy, tries
from orchestrator.durable.tries import FailedTry, TryWatch
from orchestrator.durable.try_records import read_tries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.plant import Plant

BODY = "s3cretbody"


class Nothing(BaseModel):
    """No input."""


class Watched:
    """A step that fails as often as it is told to, and the workflow around it."""

    def __init__(self, error: BaseException, failures: int = 99, **policy: Any) -> None:
        self.calls = 0

        @step(**policy)
        async def charge(ctx: Context) -> str:
            self.calls += 1

            if self.calls <= failures:
                raise error

            return f"paid in try {self.calls}"

        @workflow(name="pays")
        async def pays(ctx: Context, request: Nothing) -> Any:
            try:
                return await ctx.run(charge)
            except StepFailed as failed:
                return [failed.kind, failed.message]

        self.workflow = pays


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(tries, "_GRACE", 0.05)


@asynccontextmanager
async def works_on(tmp_path: Path, watched: Watched, engine_url: str = "memory://") -> AsyncIterator[Plant]:
    async with plant(tmp_path, engine_url, watched.workflow) as works:
        await works.start("a")
        yield works


async def ended(tmp_path: Path, watched: Watched) -> tuple[str, Any]:
    async with works_on(tmp_path, watched) as works:
        return await works.ended("a")


async def test_a_step_is_tried_as_often_as_it_says(tmp_path: Path) -> None:
    watched = Watched(ValueError("too dear"), tries=3)

    assert await ended(tmp_path, watched) == ("succeeded", ["ValueError", "too dear"])
    assert watched.calls == 3


async def test_a_step_that_succeeds_at_last_has_succeeded(tmp_path: Path) -> None:
    assert await ended(tmp_path, Watched(ValueError(), failures=2)) == ("succeeded", "paid in try 3")


@pytest.mark.parametrize("error", [KeyError("k"), TypeError("t"), NameError("n"), AttributeError("a")])
async def test_some_errors_end_a_step_at_once(tmp_path: Path, error: Exception) -> None:
    watched = Watched(error, never_retry=(LookupError,))

    assert await ended(tmp_path, watched) == ("succeeded", [type(error).__name__, str(error)])
    assert watched.calls == 1


@pytest.mark.parametrize("error", [StepRefused("no such job"), WorkflowFailed("sold out")])
async def test_what_says_itself_that_it_is_final_is_not_tried_again(tmp_path: Path, error: Exception) -> None:
    watched = Watched(error)

    assert (await ended(tmp_path, watched))[0] == "failed"
    assert watched.calls == 1


@pytest.mark.parametrize(
    "error", [SystemExit("out"), KeyboardInterrupt("out"), asyncio.CancelledError("out"), GeneratorExit("out")]
)
async def test_an_error_that_would_end_more_than_the_step_ends_the_step(tmp_path: Path, error: BaseException) -> None:
    watched = Watched(error, tries=2)

    assert await ended(tmp_path, watched) == ("succeeded", [type(error).__name__, "out"])
    assert watched.calls == 2


class Unreadable(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (Unreadable(), "Unreadable", "(its text cannot be read: ZeroDivisionError)"),
        (ValueError("a\ud800b"), "ValueError", "a\\ud800b"),
        (ValueError("x" * 2_000_000), "ValueError", "x" * 10_000 + "... (2000000 characters in all)"),
        (type("Y" * 5000, (Exception,), {})("text"), "Y" * 100 + "...", "text"),
    ],
)
async def test_the_workflow_sees_what_can_be_stored_of_any_error(
    tmp_path: Path, error: Exception, kind: str, message: str
) -> None:
    assert await ended(tmp_path, Watched(error, tries=1)) == ("succeeded", [kind, message])


async def test_each_failed_try_is_one_line_with_the_authors_place_and_never_the_text(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "orchestrator.durable.tries"):
        await ended(tmp_path, Watched(ValueError(BODY), tries=2))

    warned = [record for record in caplog.records if record.levelno == logging.WARNING]
    first, second = (record.getMessage() for record in warned)

    assert first.startswith("step charge of pays.a failed in try 1 of 2: ValueError at test_tries.py:")
    assert " in charge; the next try is in 0.001 s, at 2" in first
    assert second.startswith("step charge of pays.a failed in try 2 of 2: ValueError at test_tries.py:")
    assert second.endswith(" in charge; it is not tried again")
    assert BODY not in caplog.text
    assert [(each.fields["try"], each.fields["step_id"]) for each in warned] == [(1, "pays.a:1"), (2, "pays.a:1")]  # type: ignore[attr-defined]


async def test_debug_shows_the_way_through_the_authors_code_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def parse(text: str) -> int:
        return int(text)

    @workflow(name="pays")
    async def flow(ctx: Context, request: Nothing) -> Any:
        return await ctx.run(charge)

    @step(tries=1)
    async def charge(ctx: Context) -> int:
        return parse(BODY)

    with caplog.at_level(logging.DEBUG, "orchestrator.durable.tries"):
        async with plant(tmp_path, "memory://", flow) as works:
            await works.start("a")
            await works.end("a")

    (trace,) = (record.getMessage() for record in caplog.records if record.levelno == logging.DEBUG)

    assert trace.endswith("parse: ValueError")
    assert trace.count(" > ") == 1
    assert " charge > " in trace
    assert BODY not in caplog.text


async def test_whoever_watches_gets_each_failed_try(tmp_path: Path) -> None:
    seen: list[FailedTry] = []
    watched = Watched(ValueError(), tries=2)

    async with plant(tmp_path, "memory://", watched.workflow) as works:
        works.engine.resonate.with_dependency(TryWatch(seen.append))
        await works.start("a")
        await works.end("a")

    assert [(each.step, each.number, each.kind, each.pause) for each in seen] == [
        ("charge", 1, "ValueError", 0.001),
        ("charge", 2, "ValueError", None),
    ]


async def test_the_failed_tries_are_in_the_store_of_every_engine(tmp_path: Path, engine_url: str) -> None:
    async with works_on(tmp_path, Watched(ValueError(BODY), tries=3), engine_url) as works:
        assert (await works.ended("a"))[0] == "succeeded"

        kept = await read_tries(works.engine.promises, await works.engine.promises.get("pays.a:1"))
        graph = [record.id for record in await works.steps("a")]

    assert [each.number for each in kept] == [1, 2, 3]
    assert kept[0].next_at is not None
    assert kept[0].next_at >= kept[0].at
    assert kept[-1].next_at is None
    assert kept[-1].error.startswith("ValueError at test_tries.py:")
    assert BODY not in str(kept)
    assert graph == ["pays.a:1"]


async def test_a_crash_between_two_tries_does_not_begin_to_count_anew(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/engine.db"
    tried = asyncio.Event()

    first = Watched(ValueError(), tries=3)
    original = tries._Tries.failed

    async def failed(one: Any, error: BaseException) -> FailedTry:
        one_failed: FailedTry = await original(one, error)
        tried.set()
        await asyncio.Event().wait()
        return one_failed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tries._Tries, "failed", failed)

        async with works_on(tmp_path, first, url) as works:
            await asyncio.wait_for(tried.wait(), 30)
            forget(works)

    again = Watched(ValueError(), tries=3)

    async with plant(tmp_path, url, again.workflow) as works:
        assert (await works.ended("a"))[0] == "succeeded"

    assert (first.calls, again.calls) == (1, 2)


def forget(works: Plant) -> None:
    """Cancel the tasks that run here, as a crash would end them."""
    for task in asyncio.all_tasks():
        if task is not asyncio.current_task() and "Attempt" in repr(task.get_stack()):
            task.cancel()


async def test_a_try_that_takes_too_long_is_cancelled_and_has_failed(tmp_path: Path) -> None:
    stopped = []

    @step(tries=2, timeout=0.01)
    async def slow(ctx: Context) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(1)

    @workflow(name="pays")
    async def flow(ctx: Context, request: Nothing) -> Any:
        try:
            await ctx.run(slow)
        except StepFailed as error:
            return str(error)

    async with plant(tmp_path, "memory://", flow) as works:
        await works.start("a")

        assert await works.ended("a") == ("succeeded", "StepTimeout: the step slow took longer than 0.01 s")

    assert stopped == [1, 1]


async def test_a_try_that_does_not_stop_is_the_last_one(tmp_path: Path) -> None:
    go_on = asyncio.Event()
    calls = []

    @step(timeout=0.01)
    async def stubborn(ctx: Context) -> None:
        calls.append(1)

        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                continue

    @workflow(name="pays")
    async def flow(ctx: Context, request: Nothing) -> Any:
        await ctx.run(stubborn)

    async with plant(tmp_path, "memory://", flow) as works:
        await works.start("a")
        state, error = await works.ended("a")
        go_on.set()

    assert state == "failed"
    assert "the step stubborn took longer than 0.01 s and did not stop when it was cancelled" in error["message"]
    assert calls == [1]


async def test_a_step_that_began_a_step_of_its_own_is_not_tried_again(tmp_path: Path) -> None:
    calls = []

    async def inner(ctx: Context) -> int:
        return 7

    async def outer(ctx: Context) -> None:
        calls.append(await ctx.run(inner))
        raise ValueError

    @workflow(name="pays")
    async def flow(ctx: Context, request: Nothing) -> Any:
        await ctx.run(outer)

    async with plant(tmp_path, "memory://", flow) as works:
        await works.start("a")

        state, error = await works.ended("a")

    assert state == "failed"
    assert error["message"].startswith("a step raised ValueError: outer at test_tries.py:")
    assert calls == [7]


@group_step("other", tries=2, never_retry=(KeyError,))
async def look_up(ctx: Any, key: str) -> str:
    raise KeyError(key) if key == "k" else ValueError(key)


@pytest.mark.parametrize(("key", "numbers"), [("v", [1, 2]), ("k", [1])])
async def test_a_group_step_has_the_same_policy_and_lines(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, key: str, numbers: list[int]
) -> None:
    @workflow(name="pays")
    async def flow(ctx: Context, request: Nothing) -> Any:
        await ctx.call(look_up, key)

    async with plant(tmp_path, "memory://", flow) as works:
        await works.start("a")

        assert (await works.ended("a"))[0] == "failed"

        kept = await read_tries(works.engine.promises, await works.engine.promises.get("pays.a:1"))

    assert [each.number for each in kept] == numbers
    assert f"step look_up of pays.a failed in try {numbers[-1]} of 2: " in caplog.text


async def test_a_step_that_is_not_stored_is_done_again_in_each_replay_and_takes_no_place(
    tmp_path: Path, engine_url: str
) -> None:
    calls = []

    @step(stored=False)
    async def prices(ctx: Context) -> object:
        calls.append(ctx.info.func_name)
        assert ctx.get_dependency(TryWatch) is not None

        if len(calls) == 1:
            raise OSError

        return object

    async def total(ctx: Context) -> int:
        return 7

    @workflow(name="pays")
    async def flow(ctx: Context, request: Nothing) -> Any:
        assert await ctx.run(prices) is object
        found = await ctx.run(total)
        await ctx.sleep(timedelta(seconds=1))
        return found

    async with plant(tmp_path, engine_url, flow) as works:
        await works.start("a")

        assert await works.ended("a") == ("succeeded", 7)
        assert [record.id for record in await works.steps("a")] == ["pays.a:1", "pays.a:2"]

    assert len(calls) >= 3


async def test_the_error_of_a_step_that_is_not_stored_looks_like_that_of_any_other(tmp_path: Path) -> None:
    assert await ended(tmp_path, Watched(ValueError("too dear"), tries=2, stored=False)) == (
        "succeeded",
        ["ValueError", "too dear"],
    )
