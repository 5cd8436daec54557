"""A step may take longer than its lease: it runs once while this process is running it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from resonate.context import Context
from resonate.heartbeat import Heartbeat, NoopHeartbeat
from resonate.resonate import Resonate
from resonate.retry import Never
from resonate.types import TaskData, Value
from resonate_base import ConnectorError
from support.embedded import FAR, TARGET, Time, calm, create, engine, full, state_of

from orchestrator.engine.embedded.connection import EmbeddedConnection
from orchestrator.engine.embedded.lease_keeper import LeaseKeeper


async def long_step(path: Path | None, keeper: Callable[[EmbeddedConnection], Heartbeat]) -> int:
    """Run a step for three minutes on a lease of one minute; return how often it began."""
    time, begun, done = Time(), 0, asyncio.Event()

    async with engine(path, time) as connection:
        resonate = Resonate(
            network=connection,
            heartbeat=keeper(connection),
            clock=time.clock,
            retry_policy=Never(),
            subscription_refresh_secs=0,
            env={},
            autostart=False,
        )

        async def step(_: Context) -> str:
            nonlocal begun
            begun += 1
            await done.wait()
            return "done"

        resonate.register(step)
        resonate.start()
        task = Value(data=TaskData(func="step", args=(), kwargs={}, version=1))
        await resonate.promises.create("long", FAR, task, TARGET)
        await calm(connection)

        for _ in range(9):
            await time.pass_(connection, seconds=20)

        done.set()
        await connection.wait_settled("long", 30)
        await resonate.stop()

    return begun


async def test_a_step_longer_than_its_lease_runs_once(either: Path | None) -> None:
    assert await long_step(either, LeaseKeeper) == 1


async def test_a_step_longer_than_its_lease_would_run_again_if_nobody_kept_the_lease() -> None:
    assert await long_step(None, lambda _: NoopHeartbeat()) > 1


def test_a_keeper_that_is_shut_down_keeps_no_lease() -> None:
    connection = EmbeddedConnection(None)
    keeper = LeaseKeeper(connection)
    keeper.start("a", 1)
    keeper.start("b", 2)
    keeper.stop("a")

    assert connection.leases == {"b": 2}

    keeper.shutdown()

    assert not connection.leases


async def test_a_step_under_way_is_not_disturbed_by_a_full_disk(path: Path) -> None:
    begun, done = 0, asyncio.Event()

    async with engine(path) as connection:
        resonate = Resonate(
            network=connection, heartbeat=LeaseKeeper(connection), subscription_refresh_secs=0, env={}, autostart=False
        )

        async def step(_: Context) -> str:
            nonlocal begun
            begun += 1
            await done.wait()
            return "done"

        resonate.register(step)
        resonate.start()
        await calm(connection)
        task = Value(data=TaskData(func="step", args=(), kwargs={}, version=1))
        await resonate.promises.create("long", FAR, task, TARGET)
        await calm(connection)

        async with full(connection):
            with pytest.raises(ConnectorError):
                await create(connection, "large", {"x": "y" * 300_000})

        assert await state_of(connection, "large") == "unknown"

        await calm(connection)
        done.set()

        assert await connection.wait_settled("long", 30)
        assert begun == 1

        await resonate.stop()
