"""Requests to a database that share a statement: each gets its own reply, whatever becomes of the others.

Long because each rule is tested alone, and what they are for is tested on a real database.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator, Sequence

import psycopg
import pytest
from resonate.error import ResonateError, ServerError
from resonate.resonate import Resonate
from resonate.types import Value
from resonate_base import ORIGIN_HEADER, ConnectorError
from support.engines import Database
from support.plant import pause

from orchestrator.config.secret import Secret
from orchestrator.engine.remote.batching import BatchingNetwork, BatchRefused
from orchestrator.engine.remote.postgres import AutocommitSessions


class Fake:
    """A database that replies with the requests in capitals, when it is told to. It refuses a batch with a NUL."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.open = asyncio.Event()
        self.closed = False
        self.lost = False

    async def ask(self, requests: Sequence[str]) -> Sequence[str]:
        self.batches.append([names(request) for request in requests])
        await self.open.wait()

        if self.lost:
            raise ConnectorError(OSError("lost"))

        if "\0" in "".join(requests):
            raise BatchRefused

        return [request.upper() for request in requests]

    async def close(self) -> None:
        self.closed = True


def request(name: str, kind: str = "promise.settle") -> str:
    return f'{{"kind":"{kind}","name":"{name}"}}'


def names(text: str) -> str:
    return text.rpartition('":"')[2].removesuffix('"}')


def sent(network: BatchingNetwork, name: str, lineage: str | None = None, **kind: str) -> asyncio.Task[str]:
    headers = {ORIGIN_HEADER: name if lineage is None else lineage}

    return asyncio.create_task(network.send(request(name, **kind), headers))


async def test_what_arrives_while_batches_are_under_way_goes_together() -> None:
    database = Fake()
    network = BatchingNetwork(database, lanes=1)
    first = sent(network, "first")
    await pause(0)
    await pause(0)
    others = [sent(network, name) for name in "cab"]
    await pause(0)
    database.open.set()

    assert names(await first) == "FIRST"
    assert [names(reply) for reply in await asyncio.gather(*others)] == ["C", "A", "B"]
    assert database.batches == [["first"], ["a", "b", "c"]]


async def test_a_batch_is_bounded() -> None:
    database = Fake()
    database.open.set()
    network = BatchingNetwork(database, lanes=1)
    await asyncio.gather(*(sent(network, f"{number:03}") for number in range(70)))
    await asyncio.gather(*(sent(network, f"{number}{'x' * 600_000}") for number in range(4)))

    assert [len(batch) for batch in database.batches] == [32, 32, 6, 2, 2]


async def test_one_lineage_has_one_request_under_way_and_keeps_their_order() -> None:
    database = Fake()
    network = BatchingNetwork(database, lanes=2)
    tasks = [sent(network, name, lineage) for name, lineage in (("a1", "a"), ("a2", "a"), ("b1", "b"), ("a3", "a"))]
    await pause(0.01)
    database.open.set()
    await asyncio.gather(*tasks)

    assert database.batches == [["a1", "b1"], ["a2"], ["a3"]]


async def test_a_request_about_many_lineages_travels_alone() -> None:
    database = Fake()
    database.open.set()
    network = BatchingNetwork(database, lanes=1)
    kinds = {"a": "promise.get", "b": "task.heartbeat", "c": "promise.get", "d": "promise.search"}
    await asyncio.gather(*(sent(network, name, kind=kind) for name, kind in kinds.items()))

    assert sorted(database.batches) == [["a", "c"], ["b"], ["d"]]


async def test_a_lineage_that_is_busy_in_one_batch_has_no_request_in_another() -> None:
    database = Fake()
    network = BatchingNetwork(database, lanes=2)
    tasks = [sent(network, "a1", "a")]
    await pause(0.01)
    tasks += [sent(network, name, lineage) for name, lineage in (("a2", "a"), ("b", "b"))]
    await pause(0.01)
    assert database.batches == [["a1"], ["b"]]

    database.open.set()
    await asyncio.gather(*tasks)
    assert database.batches == [["a1"], ["b"], ["a2"]]


async def test_nothing_travels_with_a_request_about_many_lineages_or_overtakes_it_in_its_own() -> None:
    database = Fake()
    network = BatchingNetwork(database, lanes=1)
    tasks = [sent(network, "first")]
    await pause(0.01)
    kinds = {"c1": "promise.get", "a1": "task.heartbeat", "a2": "promise.get", "c2": "promise.get"}
    tasks += [sent(network, name, name[0], kind=kind) for name, kind in kinds.items()]
    await pause(0.01)
    database.open.set()
    await asyncio.gather(*tasks)

    assert database.batches == [["first"], ["c1"], ["a1"], ["a2", "c2"]]


async def test_a_request_that_the_database_does_not_accept_fails_alone() -> None:
    database = Fake()
    database.open.set()
    network = BatchingNetwork(database, lanes=1)
    tasks = [sent(network, name) for name in ("a", "b\0", "c")]
    replies = await asyncio.gather(*tasks, return_exceptions=True)

    assert [str(reply) for reply in (replies[0], replies[2])] == [request(name).upper() for name in "ac"]
    assert isinstance(replies[1], ConnectorError)
    assert database.batches == [["a", "b\0", "c"], ["a"], ["b\0"], ["c"]]


async def test_a_caller_that_gives_up_does_not_take_its_neighbours_with_it() -> None:
    database = Fake()
    network = BatchingNetwork(database, lanes=1)
    tasks = [sent(network, name) for name in "abc"]
    await pause(0.01)
    late = [sent(network, name) for name in "de"]
    await pause(0.01)
    tasks[1].cancel()
    late[0].cancel()
    database.open.set()

    assert [names(reply) for reply in await asyncio.gather(tasks[0], tasks[2], late[1])] == ["A", "C", "E"]
    assert database.batches == [["a", "b", "c"], ["e"]]


async def test_reads_go_with_their_request_and_after_it() -> None:
    database = Fake()
    database.open.set()
    network = BatchingNetwork(database, lanes=1)
    with_reads = network.send_with(request("m"), [request(name) for name in "za"], {ORIGIN_HEADER: "m"})
    reply, *_ = await asyncio.gather(with_reads, sent(network, "b"), sent(network, "n"))

    assert [names(text) for text in (reply[0], *reply[1])] == ["M", "Z", "A"]
    assert database.batches == [["b", "m", "z", "a", "n"]]


async def test_a_read_that_the_database_does_not_accept_is_left_out() -> None:
    database = Fake()
    database.open.set()
    network = BatchingNetwork(database, lanes=1)
    reply, read = await network.send_with(request("m"), [request("\0"), request("a")], {ORIGIN_HEADER: "m"})

    assert [names(text) for text in (reply, *read)] == ["M", "A"]
    assert database.batches == [["m", "\0", "a"], ["m"], ["\0"], ["a"]]


async def test_reads_are_lost_with_their_request(recwarn: pytest.WarningsRecorder) -> None:
    database = Fake()
    database.lost = True
    database.open.set()
    network = BatchingNetwork(database, lanes=1)

    with pytest.raises(ConnectorError):
        await network.send_with(request("m"), [request("a")], {ORIGIN_HEADER: "m"})

    database.lost = False
    database.open.clear()
    given_up = asyncio.create_task(network.send_with(request("m"), [request("a")], {ORIGIN_HEADER: "m"}))
    await pause(0.01)
    given_up.cancel()
    database.open.set()

    assert names(await network.send(request("b"))) == "B"
    gc.collect()
    assert not recwarn.list


async def test_a_lost_connection_is_told_to_each_and_ends_nothing_else() -> None:
    database = Fake()
    database.lost = True
    database.open.set()
    network = BatchingNetwork(database, lanes=1)
    lost = await asyncio.gather(*(sent(network, name) for name in "abc"), return_exceptions=True)
    database.lost = False

    assert [type(error) for error in lost] == [ConnectorError] * 3
    assert len({id(error) for error in lost}) == 3
    assert names(await network.send(request("d"))) == "D"


async def test_a_failure_of_the_driver_ends_its_own_batch_only(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Fake):
        async def ask(self, requests: Sequence[str]) -> Sequence[str]:
            replies = await super().ask(requests)

            if len(self.batches) == 1:
                raise ValueError("a secret")

            return replies

    database = Failing()
    network = BatchingNetwork(database, lanes=1)
    first = sent(network, "a")
    await pause(0.01)
    second = sent(network, "b")
    await pause(0.01)
    database.open.set()

    with pytest.raises(ConnectorError):
        await first

    async with asyncio.timeout(10):
        assert names(await second) == "B"

    assert [record.getMessage().partition(" at ")[0] for record in caplog.records] == [
        "an exchange with the database failed: builtins.ValueError"
    ]


async def test_too_few_replies_are_given_to_nobody() -> None:
    class Short(Fake):
        async def ask(self, requests: Sequence[str]) -> Sequence[str]:
            return requests[1:]

    network = BatchingNetwork(Short(), lanes=1)
    ends = await asyncio.gather(*(sent(network, name) for name in "ab"), return_exceptions=True)

    assert [type(end) for end in ends] == [ConnectorError] * 2


async def test_a_network_that_is_stopped_leaves_nobody_waiting() -> None:
    database = Fake()
    network = BatchingNetwork(database, lanes=1)
    tasks = [sent(network, "a")]
    await pause(0.01)
    tasks.append(sent(network, "b"))
    await pause(0.01)
    await network.stop()

    ends = await asyncio.gather(*tasks, sent(network, "c"), return_exceptions=True)
    assert [type(end) for end in ends] == [ConnectorError] * 3
    assert database.closed


# On a real database


@contextlib.asynccontextmanager
async def client(url: str, *, lanes: int = 1) -> AsyncIterator[Resonate]:
    """A client of one process, which sends only."""
    network = BatchingNetwork(AutocommitSessions(Secret(url), seconds=30), lanes=lanes)
    resonate = Resonate(network=network, sources=[], autostart=False, env={})

    try:
        yield resonate
    finally:
        await network.stop()


async def created(resonate: Resonate, *ids: str) -> None:
    end = int((time.time() + 3600) * 1000)
    await asyncio.gather(*(resonate.promises.create(one, end, Value(), {}) for one in ids))


async def test_a_hundred_equal_deliveries_at_once_settle_once(database: Database) -> None:
    async with client(database.fresh(), lanes=2) as resonate:
        await created(resonate, "wait")
        deliveries = [resonate.promises.resolve("wait", Value(data=number)) for number in range(100)]
        records = await asyncio.gather(*deliveries)

    assert len({str(record.value.data) for record in records}) == 1


async def test_a_settlement_of_an_unknown_promise_fails_alone(database: Database) -> None:
    async with client(database.fresh()) as resonate:
        await created(resonate, "a", "c")
        settlements = [resonate.promises.resolve(one, Value(data=one)) for one in "abc"]
        records = await asyncio.gather(*settlements, return_exceptions=True)

        assert isinstance(records[1], ServerError)
        assert records[1].code == 404
        assert [(await resonate.promises.get(one)).state for one in "ac"] == ["resolved", "resolved"]


async def test_a_text_that_postgres_cannot_hold_fails_alone(database: Database) -> None:
    async with client(database.fresh()) as resonate:
        end = int((time.time() + 3600) * 1000)
        creations = [
            resonate.promises.create(one, end, Value(), {"x": tag}) for one, tag in zip("abc", "x\0x", strict=True)
        ]
        records = await asyncio.gather(*creations, return_exceptions=True)

        assert isinstance(records[1], ResonateError)
        assert [(await resonate.promises.get(one)).state for one in "ac"] == ["pending", "pending"]


async def test_a_connection_that_is_killed_during_a_batch_leaves_all_of_it_or_nothing(database: Database) -> None:
    url = database.fresh()

    async with client(url) as resonate:
        await created(resonate, *"abcde")

        with psycopg.connect(url) as admin:
            admin.execute("SELECT id FROM resonate.promises WHERE id = 'c' FOR UPDATE")
            tasks = [asyncio.ensure_future(resonate.promises.resolve(one, Value(data=1))) for one in "abcde"]
            blocked = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"

            while (row := admin.execute(blocked).fetchone()) is None:
                await pause(0.02)

            admin.execute("SELECT pg_terminate_backend(%s)", row)
            ends = await asyncio.gather(*tasks, return_exceptions=True)

        assert [type(end) for end in ends] == [ConnectorError] * 5
        assert [(await resonate.promises.get(one)).state for one in "abcde"] == ["pending"] * 5

        again = await asyncio.gather(*(resonate.promises.resolve(one, Value(data=2)) for one in "abcde"))
        assert [record.state for record in again] == ["resolved"] * 5


async def test_two_processes_that_settle_the_same_promises_in_opposite_orders_never_deadlock(
    database: Database,
) -> None:
    url = database.fresh()
    ids = [f"{number:03}" for number in range(200)]

    async with client(url, lanes=2) as one, client(url, lanes=2) as other:
        await created(one, *ids)
        forward = [one.promises.resolve(each, Value(data="one")) for each in ids]
        backward = [other.promises.resolve(each, Value(data="other")) for each in reversed(ids)]
        records = await asyncio.gather(*forward, *backward)

    settled = {record.id: record.value.data for record in records[:200]}
    assert {record.id: record.value.data for record in records[200:]} == settled

    with psycopg.connect(url) as admin:
        admin.execute("SELECT pg_stat_force_next_flush()")
        row = admin.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").fetchone()

    assert row == (0,)
