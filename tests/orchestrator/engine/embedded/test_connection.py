"""The embedded engine is a network and a source as the SDK needs them; it opens once and closes permanently."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from resonate.connections.local import LocalConnection
from resonate.context import Context
from resonate.error import DecodingError, ServerError
from resonate.resonate import Resonate
from resonate.types import TaskData, Value
from resonate_base import ConnectorError, Network, Source
from support.embedded import (
    FAR,
    LARGE,
    NOW,
    TARGET,
    Disk,
    Time,
    create,
    engine,
    full,
    resolve,
    state_of,
    true_soon,
    turns,
)

from orchestrator.engine.embedded.connection import EmbeddedConnection
from orchestrator.engine.embedded.lease_keeper import LeaseKeeper


def test_it_is_a_network_and_a_source() -> None:
    connection = EmbeddedConnection(None)
    local = LocalConnection()

    assert isinstance(connection, Network)
    assert isinstance(connection, Source)
    assert connection.unicast() == local.unicast()
    assert connection.resolve_target("db") == local.resolve_target("db")


@pytest.mark.parametrize("request_", ["", "{", "3", "[]", "{}", '{"kind": "promise.fly"}', '{"kind": "promise.get"}'])
async def test_an_invalid_request_gets_the_same_error_as_from_the_sdk(either: Path | None, request_: str) -> None:
    async with engine(either) as connection:
        with pytest.raises((ServerError, DecodingError)) as theirs:
            await LocalConnection().send(request_)

        with pytest.raises(type(theirs.value)) as ours:
            await connection.send(request_)

        assert str(ours.value) == str(theirs.value)


async def test_requests_fail_before_it_is_open_and_after_it_has_stopped(either: Path | None) -> None:
    connection = EmbeddedConnection(either)

    with pytest.raises(ConnectorError, match="not open"):
        await state_of(connection, "a")

    await connection.open()
    await connection.open()
    await connection.start()
    await connection.start()
    await connection.stop()
    await connection.stop()

    with pytest.raises(ConnectorError, match="not open"):
        await state_of(connection, "a")

    with pytest.raises(ConnectorError, match="not open"):
        await connection.wait_settled("a", 1)


async def test_what_is_under_way_when_it_stops_is_finished(path: Path) -> None:
    async with engine(path) as connection:
        asking = [asyncio.create_task(create(connection, f"w{number}")) for number in range(50)]
        await asyncio.sleep(0)
        await connection.stop()
        await asyncio.gather(*asking)

    async with engine(path) as connection:
        assert [await state_of(connection, f"w{number}") for number in range(50)] == ["pending"] * 50


async def test_workflows_run_on_after_a_restart(path: Path) -> None:
    async def flow(ctx: Context) -> str:
        await ctx.run(first)
        return str(await ctx.promise())

    async def first(_: Context) -> None:
        steps.append(1)

    steps: list[int] = []

    async def resonate_on(connection: EmbeddedConnection) -> Resonate:
        resonate = Resonate(
            network=connection, heartbeat=LeaseKeeper(connection), subscription_refresh_secs=0, env={}, autostart=False
        )
        resonate.register(flow)
        return resonate.start()

    async with engine(path) as connection:
        resonate = await resonate_on(connection)
        task = Value(data=TaskData(func="flow", args=(), kwargs={}, version=1))
        await resonate.promises.create("w", FAR, task, TARGET | {"resonate:branch": "w", "resonate:origin": "w"})

        await true_soon(lambda: connection.state.tasks["w"].state == "suspended")

        await resonate.stop()

    async with engine(path) as connection:
        resonate = await resonate_on(connection)
        await resonate.promises.resolve("w:2", Value(data="yes"))

        assert await connection.wait_settled("w", 30)
        assert (await resonate.promises.get("w")).value.data == "yes"
        assert steps == [1]

        await resonate.stop()


async def test_only_what_is_on_disk_and_not_past_its_deadline_is_at_hand(either: Path | None) -> None:
    time = Time()

    async with engine(either, time) as connection:
        await create(connection, "a", TARGET, timeout_at=NOW + 5000)
        first = connection.at_hand("a")
        time.clock.advance(seconds=5)

        assert first is not None
        assert (first.id, first.state, first.timeout_at) == ("a", "pending", NOW + 5000)
        assert connection.at_hand("a") is None
        assert await state_of(connection, "a") == "rejected_timedout"

        settled = connection.at_hand("a")

        assert settled is not None
        assert settled.state == "rejected_timedout"
        assert connection.at_hand("unknown") is None

    assert connection.at_hand("a") is None


async def test_what_waits_for_the_disk_is_not_at_hand_and_what_was_lost_never_is(path: Path, disk: Disk) -> None:
    async with engine(path) as connection:
        await create(connection, "a", TARGET)
        await create(connection, "b", TARGET)
        disk.free.clear()
        settling = asyncio.create_task(resolve(connection, "a"))
        await turns()

        assert connection.at_hand("a") is None
        assert connection.at_hand("b") is not None

        disk.free.set()
        await settling

        assert connection.at_hand("a") is not None

        async with full(connection):
            with pytest.raises(ConnectorError):
                await resolve(connection, "b", LARGE)

            assert connection.at_hand("a") is None
            assert connection.at_hand("b") is None

        await create(connection, "c")
        again = connection.at_hand("b")

        assert again is not None
        assert again.state == "pending"
