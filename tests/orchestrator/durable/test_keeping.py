"""A workflow that waits in memory goes on as one that was suspended would, only without a replay."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from resonate.types import Value
from support.configuration import fresh_key
from support.garbage import leaving_none
from support.keeping import (
    CALLS,
    DONE,
    answered,
    asks_twice,
    at_rest,
    ends_at_once,
    ends_busy,
    ends_early,
    has_timers,
    looks_again,
    proven,
    running,
    wait_id,
)
from support.plant import pause

from orchestrator.runs import cancel_watch
from orchestrator.runs.cancel_record import find_cancel
from orchestrator.runs.cancellation import request_cancel

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Start


@pytest.fixture(autouse=True)
def _forgotten() -> None:
    CALLS.clear()
    DONE.clear()


@pytest.mark.parametrize("key", ["off", fresh_key()], ids=["plain", "encrypted"])
async def test_it_goes_on_without_a_replay_and_ends_as_a_suspended_one_does(tmp_path: Path, key: str) -> None:
    async with running(tmp_path, asks_twice, key=key) as works:
        for workflow_id, way, calls in (("0", "suspended", 3), ("1", "kept", 1), ("2", "kept", 1)):
            await works.start(workflow_id)
            await works.opened(wait_id(works, workflow_id, "first"))
            assert await at_rest(works, workflow_id) == way
            await answered(works, workflow_id, "first", '{"n": 1}')
            await answered(works, workflow_id, "second", '"x"')
            state, result = await works.ended(workflow_id)

            assert (state, result) == (
                "succeeded",
                ["succeeded", {"n": 1}, "callback", "succeeded", "x", "callback", True],
            )
            assert CALLS[works.root(workflow_id)] == calls
            assert [each.state for each in await works.steps(workflow_id)] == ["resolved"] * 4

        assert len(works.engine.cache or ()) == 0
        assert [f"asks_twice.{n} {what}" for n in "012" for what in ("began", "got succeeded")] == DONE


async def test_its_deadline_ends_it_as_expired(tmp_path: Path) -> None:
    async with running(tmp_path, asks_twice) as works:
        await proven(works, waits=("first", "second"))
        await works.start("1")
        await answered(works, "1", "first")
        await works.opened(wait_id(works, "1", "second"))
        assert await at_rest(works, "1") == "kept"

        _, result = await works.ended("1")
        assert result[3:6] == ["expired", None, "deadline"]
        assert CALLS["asks_twice.1"] == 1


async def test_a_cancel_reaches_it(tmp_path: Path) -> None:
    async with running(tmp_path, asks_twice) as works:
        await proven(works, waits=("first", "second"))
        await works.start("1")
        await works.opened(wait_id(works, "1", "first"))
        assert await at_rest(works, "1") == "kept"
        await request_cancel(works.engine, works.root("1"))

        assert (await works.ended("1"))[0] == "cancelled"
        assert CALLS["asks_twice.1"] == 1


async def test_nothing_of_it_runs_any_more_once_the_workflow_itself_has_expired(tmp_path: Path, start: Start) -> None:
    stream = start("info")

    async with running(tmp_path, ends_early) as works:
        for workflow_id, way in (("0", "suspended"), ("1", "kept")):
            await works.start(workflow_id)
            await works.opened(wait_id(works, workflow_id, "first"))
            assert await at_rest(works, workflow_id) == way
            assert (await works.ended(workflow_id))[0] == "expired"

        await pause(0.2)

    assert DONE == []
    lines = [line.partition(" ends_early.")[2] for line in stream.getvalue().splitlines() if " uvicorn" not in line]
    assert [line[:10] for line in lines] == ["0 expired:", "1 expired:", "1 was ende"]


async def test_nothing_of_it_runs_either_when_both_times_have_passed_before_anybody_looked(tmp_path: Path) -> None:
    async with running(tmp_path, ends_at_once) as works:
        for workflow_id, way in (("0", "suspended"), ("1", "kept")):
            await works.start(workflow_id)
            await works.opened(wait_id(works, workflow_id, "first"))
            assert await at_rest(works, workflow_id) == way
            time.sleep(2.5)  # noqa: ASYNC251 - as where the machine was asleep
            assert (await works.ended(workflow_id))[0] == "expired"

        await pause(0.2)

    assert DONE == []


async def test_an_answer_that_it_has_got_is_there_however_often_it_is_awaited(tmp_path: Path) -> None:
    async with running(tmp_path, looks_again) as works:
        for workflow_id, calls in (("0", 3), ("1", 1)):
            await works.start(workflow_id)
            await works.opened(wait_id(works, workflow_id, "second"))
            await answered(works, workflow_id, "first", "7")

            async with asyncio.timeout(10):
                while f"looks_again.{workflow_id} 2 7" not in DONE:
                    await pause(0.02)

            await answered(works, workflow_id, "second", "8")

            async with asyncio.timeout(10):
                names = [f"looks_again.{workflow_id} {number} 7" for number in (1, 2)]
                assert await works.ended(workflow_id) == ("succeeded", [True, *names, 8])

            assert CALLS[works.root(workflow_id)] == calls


async def test_somebody_with_access_to_the_engine_cannot_answer_it(tmp_path: Path) -> None:
    async with running(tmp_path, asks_twice) as works:
        await proven(works, waits=("first", "second"))

        for workflow_id, settle in (("1", works.engine.resonate.promises.resolve), ("2", works.engine.promises.cancel)):
            await works.start(workflow_id)
            await works.opened(wait_id(works, workflow_id, "first"))
            assert await at_rest(works, workflow_id) == "kept"
            arguments = (Value(data="yes"),) if workflow_id == "1" else ()
            await settle(wait_id(works, workflow_id, "first"), *arguments)
            await answered(works, workflow_id, "second")
            _, result = await works.ended(workflow_id)
            assert result[:3] == ["cancelled", None, "engine"]


async def test_its_record_of_a_cancel_is_looked_up_while_it_runs_but_not_while_it_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []
    find = find_cancel

    async def counted(promises: Any, root: Any) -> Any:
        looks.append(root.id)

        return await find(promises, root)

    monkeypatch.setattr(cancel_watch, "find_cancel", counted)
    monkeypatch.setattr(cancel_watch, "FIRST_LOOK", 0.1)

    async with running(tmp_path, ends_busy) as works:
        await works.start("0")
        await works.opened(wait_id(works, "0", "first"))
        assert await at_rest(works, "0") == "suspended"
        await works.start("1")
        await works.opened(wait_id(works, "1", "first"))
        assert await at_rest(works, "1") == "kept"
        await pause(0.5)
        assert looks == []

        await works.answer(wait_id(works, "1", "first"), name="first")
        await request_cancel(works.engine, works.root("1"))
        assert (await works.ended("1"))[0] == "cancelled"
        assert set(looks) == {"ends_busy.1"}


async def test_timers_around_it_do_nothing_as_around_one_that_is_suspended(tmp_path: Path) -> None:
    async with running(tmp_path, has_timers) as works:
        for workflow_id, way in (("0", "suspended"), ("1", "kept")):
            await works.start(workflow_id)
            await works.opened(wait_id(works, workflow_id, "first"))
            assert await at_rest(works, workflow_id) == way
            await pause(0.6)
            assert await at_rest(works, workflow_id) == "suspended"
            await answered(works, workflow_id, "first")
            assert await works.ended(workflow_id) == ("succeeded", "succeeded")

        await works.start("2")
        await answered(works, "2", "first")
        assert await works.ended("2") == ("succeeded", "succeeded")
        assert CALLS["has_timers.2"] == 1


async def test_more_can_wait_than_can_run_at_once(tmp_path: Path) -> None:
    async with running(tmp_path, asks_twice) as works:
        await proven(works, waits=("first", "second"))
        many = [str(number) for number in range(1, 101)]

        for workflow_id in many:
            await works.start(workflow_id)

        for workflow_id in many:
            await works.opened(wait_id(works, workflow_id, "first"))
            assert await at_rest(works, workflow_id) == "kept"

        await asyncio.gather(*(works.answer(wait_id(works, each, "first"), name="first") for each in many))
        await asyncio.gather(*(answered(works, each, "second") for each in many))
        assert {(await works.ended(each))[0] for each in many} == {"succeeded"}
        assert set(CALLS.values()) == {1, 3}


async def test_those_above_the_limit_are_suspended(tmp_path: Path) -> None:
    async with running(tmp_path, asks_twice, cached=1) as works:
        await proven(works, waits=("first", "second"))

        for workflow_id, way in (("1", "kept"), ("2", "suspended")):
            await works.start(workflow_id)
            await works.opened(wait_id(works, workflow_id, "first"))
            assert await at_rest(works, workflow_id) == way


async def test_without_a_cache_all_are_suspended(tmp_path: Path) -> None:
    async with running(tmp_path, asks_twice, cached=0) as works:
        await proven(works, waits=("first", "second"))
        await works.start("1")
        await works.opened(wait_id(works, "1", "first"))

        assert await at_rest(works, "1") == "suspended"
        assert works.engine.cache is None


async def test_a_worker_that_stops_suspends_them_and_the_next_one_goes_on(tmp_path: Path) -> None:
    url, key = f"sqlite:///{tmp_path}/engine.db", fresh_key()

    async with running(tmp_path, asks_twice, url=url, key=key) as works:
        await proven(works, waits=("first", "second"))

        for workflow_id in ("1", "2"):
            await works.start(workflow_id)
            await works.opened(wait_id(works, workflow_id, "first"))
            assert await at_rest(works, workflow_id) == "kept"

        held = works.engine.tasks._held
        await works.engine.stop()
        assert held is not None
        assert [task and task.state for task in map(held, map(works.root, "12"))] == ["suspended"] * 2

    async with running(tmp_path, asks_twice, url=url, key=key) as works:
        for workflow_id in ("1", "2"):
            await answered(works, workflow_id, "first")
            await answered(works, workflow_id, "second")
            assert (await works.ended(workflow_id))[0] == "succeeded"

    assert DONE.count("asks_twice.1 began") == 1


async def test_it_leaves_nothing_for_the_garbage_collector(tmp_path: Path) -> None:
    async with running(tmp_path, asks_twice) as works:
        await proven(works, waits=("first", "second"))

        with leaving_none("orchestrator"):
            for workflow_id in ("1", "2", "3"):
                await works.start(workflow_id)
                await answered(works, workflow_id, "first")
                await answered(works, workflow_id, "second")
                await works.ended(workflow_id)

            assert CALLS["asks_twice.3"] == 1
            # Until its time has come, the loop keeps a cancelled timer, and what that was set from.
            await pause(cancel_watch.FIRST_LOOK + 0.2)
