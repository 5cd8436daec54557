from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from support.loops import NotingFactory

from orchestrator.testing.trial.tracking import Members


async def failing() -> None:
    raise LookupError("nobody asks")


async def test_what_a_member_starts_is_a_member_too() -> None:
    members = Members()
    inner: list[asyncio.Task[Any]] = []

    async def outer() -> None:
        inner.append(asyncio.ensure_future(asyncio.Event().wait()))
        await asyncio.Event().wait()

    one = members.spawn(outer())
    stranger = asyncio.ensure_future(asyncio.sleep(0))
    await asyncio.sleep(0)

    assert set(members.unfinished()) == {one, *inner}
    assert members.own(one.get_context())
    assert not members.own(stranger.get_context())

    for task in members.unfinished():
        task.cancel()

    await asyncio.wait([one, *inner, stranger])
    members.close()


async def test_the_loop_is_left_as_it_was_whoever_ends_first() -> None:
    loop = asyncio.get_running_loop()
    first, second = Members(), Members()
    first.close()
    work = second.spawn(asyncio.sleep(0))
    assert second.unfinished() == [work]
    await work
    second.close()

    assert loop.get_task_factory() is None


async def test_a_task_factory_that_is_there_makes_the_tasks() -> None:
    loop = asyncio.get_running_loop()
    factory = NotingFactory()
    loop.set_task_factory(factory)

    try:
        members = Members()
        await members.spawn(asyncio.sleep(0))
        members.close()
        assert len(factory.made) == 1
        assert loop.get_task_factory() is factory
    finally:
        loop.set_task_factory(None)


async def test_an_error_that_nobody_asks_for_is_not_reported(caplog: pytest.LogCaptureFixture) -> None:
    members = Members()
    task: Any = members.spawn(failing())
    await asyncio.sleep(0)
    members.close()
    del task
    gc.collect()

    assert caplog.records == []
