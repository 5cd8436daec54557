"""How many workflows wait in memory, for how long, and what ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from support.embedded import turns

from orchestrator.engine.process_time import ProcessTime
from orchestrator.engine.workflow_cache import (
    BETWEEN_LOOKS,
    LONGEST,
    MOST_GROWTH,
    MOST_PLACES,
    WorkflowCache,
    resident_bytes,
)

PLACE = ("flow", ":1")


class Waiters:
    """Promises that a test settles."""

    def __init__(self) -> None:
        self.open: dict[str, asyncio.Future[bool]] = {}
        self.over: set[str] = set()

    def add(self, promise_id: str) -> asyncio.Future[bool] | None:
        if promise_id in self.over:
            return None

        return self.open.setdefault(promise_id, asyncio.get_running_loop().create_future())

    def remove(self, promise_id: str, waiter: asyncio.Future[bool]) -> None:
        assert self.open.pop(promise_id) is waiter

    def settle(self, promise_id: str) -> None:
        self.open[promise_id].set_result(True)


@dataclass
class Timers:
    """Seconds that a test lets pass, and what is due then."""

    now: float = 1000.0
    due: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def later(self, seconds: float, act: Callable[[], None]) -> Cancellable:
        self.due.append((self.now + seconds, act))

        return Cancellable(self, self.due[-1])

    def pass_(self, seconds: float) -> None:
        self.now += seconds

        for at, act in [*self.due]:
            if at <= self.now:
                self.due.remove((at, act))
                act()


@dataclass
class Cancellable:
    timers: Timers
    entry: tuple[float, Callable[[], None]]

    def cancel(self) -> None:
        self.timers.due.remove(self.entry)


@dataclass
class Machine:
    """A cache, what it depends on, and the workflows that wait."""

    limit: int = 10
    at_once: int = 2
    resident: int = 0
    timers: Timers = field(default_factory=Timers)

    def __post_init__(self) -> None:
        self.waiters = Waiters()
        self.permits = asyncio.Semaphore(self.at_once)
        self.cache = WorkflowCache(
            self.waiters,
            limit=self.limit,
            permits=self.permits,
            process_time=ProcessTime(seconds=lambda: self.timers.now, later=self.timers.later),
            resident=lambda: self.resident,
        )

    async def run(self, promise_id: str, place: tuple[str, str] = PLACE) -> bool:
        async with self.permits:
            return await self.cache.settled(promise_id, place=place)

    async def wait(self, *promise_ids: str, place: tuple[str, str] = PLACE) -> list[asyncio.Task[bool]]:
        tasks = [asyncio.create_task(self.run(each, place)) for each in promise_ids]
        await turns()

        return tasks

    async def prove(self, place: tuple[str, str] = PLACE) -> None:
        assert await self.run("first", place) is False


async def test_the_first_run_of_some_code_is_suspended_and_later_ones_wait_until_their_promise_is_settled() -> None:
    machine = Machine()
    await machine.prove()
    one, two = await machine.wait("a", "b")
    assert not one.done()
    assert not two.done()
    assert len(machine.cache) == 2

    machine.waiters.settle("b")
    assert await two is True
    assert not one.done()

    (elsewhere,) = await machine.wait("c", place=("flow", ":2"))
    assert await elsewhere is False


async def test_what_is_settled_by_now_is_not_waited_for() -> None:
    machine = Machine()
    await machine.prove()
    machine.waiters.over.add("a")

    assert await machine.run("a") is True
    assert len(machine.cache) == 0


async def test_no_more_are_kept_than_the_limit() -> None:
    machine = Machine(limit=2)
    await machine.prove()
    one, two, three = await machine.wait("a", "b", "c")
    assert three.done()
    assert three.result() is False

    machine.waiters.settle("a")
    assert await one is True
    (four,) = await machine.wait("d")
    assert not four.done()
    assert not two.done()


async def test_each_is_dropped_after_its_minute() -> None:
    machine = Machine()
    await machine.prove()
    (one,) = await machine.wait("a")
    machine.timers.pass_(LONGEST - 1)
    two, three = await machine.wait("b", "c")
    machine.waiters.settle("c")
    await turns()

    machine.timers.pass_(1)
    assert await one is False
    assert not two.done()

    machine.timers.pass_(LONGEST - 1)
    assert await two is False
    assert await three is True
    assert machine.timers.due == []

    (later,) = await machine.wait("d")
    machine.timers.pass_(LONGEST)
    assert await later is False


async def test_one_that_waits_does_not_keep_others_from_running() -> None:
    machine = Machine(at_once=1)
    await machine.prove()
    tasks = await machine.wait("a", "b", "c")
    assert len(machine.cache) == 3
    assert not machine.permits.locked()

    async with machine.permits:
        machine.waiters.settle("a")
        await turns()
        # It goes on when it may run again.
        assert not tasks[0].done()

    assert await tasks[0] is True
    machine.cache.drop_all()
    assert await asyncio.gather(*tasks[1:]) == [False, False]
    assert machine.permits._value == 1


async def test_one_that_is_cancelled_leaves_the_permits_as_they_were() -> None:
    machine = Machine(at_once=2)
    await machine.prove()
    one, two, three = await machine.wait("a", "b", "c")
    one.cancel()
    await asyncio.wait({one})
    # It has given back a permit that it did not hold; the next one that waits makes up for it.
    assert machine.permits._value == 3
    (four,) = await machine.wait("d")
    assert machine.permits._value == 2

    async with machine.permits, machine.permits:
        machine.waiters.settle("b")
        await turns()
        two.cancel()
        await asyncio.wait({two})

    machine.cache.drop_all()
    assert [await three, await four] == [False, False]
    (five,) = await machine.wait("e")
    machine.waiters.settle("e")
    assert await five is True
    assert machine.permits._value == 2
    assert machine.waiters.open == {}


async def test_one_can_be_dropped_by_what_it_waits_for() -> None:
    machine = Machine()
    await machine.prove()
    one, two = await machine.wait("a", "b")
    machine.cache.drop("a")
    machine.cache.drop("unknown")

    assert await one is False
    assert not two.done()


async def test_a_second_one_that_waits_for_the_same_is_suspended() -> None:
    machine = Machine()
    await machine.prove()
    (one,) = await machine.wait("a")
    assert await machine.run("a") is False

    machine.waiters.settle("a")
    assert await one is True


async def test_once_closed_it_keeps_nothing() -> None:
    machine = Machine()
    await machine.prove()
    (one,) = await machine.wait("a")
    machine.cache.close()

    assert await one is False
    assert await machine.run("b") is False
    assert machine.timers.due == []


async def test_nothing_is_kept_while_the_process_has_grown_too_large(caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine(resident=50)
    await machine.prove()
    (one,) = await machine.wait("a")
    machine.resident = 50 + MOST_GROWTH + 1
    (two,) = await machine.wait("b")
    assert not two.done()

    machine.timers.pass_(BETWEEN_LOOKS)
    assert await machine.run("c") is False
    assert [await one, await two] == [False, False]

    machine.timers.pass_(BETWEEN_LOOKS)
    assert await machine.run("c") is False
    assert caplog.messages == ["this process has grown by 256 MiB: no workflow waits in memory now"]

    machine.resident = 50 + MOST_GROWTH
    assert await machine.run("d") is False
    machine.timers.pass_(BETWEEN_LOOKS)
    (later,) = await machine.wait("e")
    assert not later.done()


async def test_it_remembers_a_bounded_number_of_places() -> None:
    machine = Machine()

    for number in range(MOST_PLACES + 1):
        await machine.prove(("flow", f":{number}"))

    # The first has been forgotten, the last has not.
    await machine.prove(("flow", ":0"))
    (kept,) = await machine.wait("a", place=("flow", f":{MOST_PLACES}"))
    assert not kept.done()


def test_the_memory_of_this_process_is_known_here() -> None:
    assert 2**20 < resident_bytes() < 2**40


def test_where_the_system_does_not_say_it_counts_as_none(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setattr("orchestrator.engine.workflow_cache._MEMORY", tmp_path)

    assert resident_bytes() == 0
