"""Calls that are scheduled about a wait: each once, at its time, for one wait and no other with its id."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
from support.plant import plant

from orchestrator.durable.opened_at import MARK, companion_id
from orchestrator.durable.scheduling import PERSISTENT, own_tags, schedule, when_due
from orchestrator.errors import UnknownPromise
from orchestrator.stored_names import TRANSIENT_TAG

if TYPE_CHECKING:
    from datetime import timedelta
    from pathlib import Path

    from resonate.types import PromiseRecord

    from orchestrator.engine import Engine


async def a_wait(engine: Engine, *, timeout_at: int = 2**42) -> PromiseRecord:
    tags = {**own_tags("w.1"), "resonate:target": engine.address_of("default"), **MARK}

    return await engine.promises.create("w.1", timeout_at=timeout_at, param={"asks": 1}, tags=tags)


async def scheduled(engine: Engine, wait: PromiseRecord, **changed: Any) -> PromiseRecord:
    ctx: Any = SimpleNamespace(get_dependency=lambda _: engine)
    call: dict[str, Any] = {"function": "f", "argument": {"a": 1}, "seconds": 60, "now": 1_000_000.0} | changed
    await schedule(ctx, wait, "look0", **call)

    return await engine.promises.get(companion_id(wait, "look0"))


async def test_a_call_is_a_task_of_its_own_that_is_due_later(tmp_path: Path, engine_url: str) -> None:
    async with plant(tmp_path, engine_url, working=False) as works:
        wait = await a_wait(works.engine)
        call = await scheduled(works.engine, wait)

    assert call.param.data == {"func": "f", "args": [{"a": 1, "due_at": 1_000_060_000}], "kwargs": {}, "version": 1}
    assert call.tags == {
        **own_tags(call.id),
        TRANSIENT_TAG: "true",
        "resonate:target": wait.tags["resonate:target"],
        "resonate:delay": "1000060000",
    }


async def test_the_same_call_again_schedules_nothing_more(tmp_path: Path, engine_url: str) -> None:
    async with plant(tmp_path, engine_url, working=False) as works:
        wait = await a_wait(works.engine)
        first = await scheduled(works.engine, wait)
        again = await scheduled(works.engine, wait, seconds=5, argument={"a": 2}, now=2_000_000.0)

    assert again == first


async def test_a_later_wait_of_the_same_id_has_calls_of_its_own(tmp_path: Path) -> None:
    async with plant(tmp_path, "memory://", working=False) as works:
        wait = await a_wait(works.engine)
        later = msgspec.structs.replace(wait, created_at=wait.created_at + 1)
        await scheduled(works.engine, wait)

        try:
            await works.engine.promises.get(companion_id(later, "look0"))
        except UnknownPromise:
            missing = True
        else:
            missing = False

    assert missing


async def test_a_call_that_is_due_after_the_wait_outlives_it(tmp_path: Path) -> None:
    async with plant(tmp_path, "memory://", working=False) as works:
        now = time.time()
        wait = await a_wait(works.engine, timeout_at=int(now * 1000) + 60_000)
        call = await scheduled(works.engine, wait, seconds=3600, now=now)

    assert call.timeout_at > wait.timeout_at + 3_500_000


NOW = 1_700_000_000


class Context:
    """The context of a scheduled call, whose sleeps are recorded."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.policies: list[Any] = []

    def get_dependency(self, _: Any) -> Any:
        return SimpleNamespace(clock=lambda: NOW)

    async def sleep(self, length: timedelta) -> None:
        self.slept.append(length.total_seconds())

    def options(self, *, retry_policy: Any) -> Context:
        self.policies.append(retry_policy)
        return self

    async def run(self, step: Any, *args: Any) -> Any:
        return await step(self, *args)


async def done(_: Any, what: str) -> str:
    return what


async def test_a_call_that_an_engine_delivers_early_sleeps_until_it_is_due() -> None:
    ctx: Any = Context()

    assert await when_due(ctx, {"due_at": (NOW + 60) * 1000}, done, "done") == "done"
    assert ctx.slept == [60]
    assert ctx.policies == [PERSISTENT]


async def test_a_call_in_time_is_done_at_once() -> None:
    ctx: Any = Context()

    assert await when_due(ctx, {"due_at": NOW * 1000}, done, "done") == "done"
    assert ctx.slept == []
