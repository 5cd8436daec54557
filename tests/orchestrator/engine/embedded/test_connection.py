"""The embedded engine: what it has answered is true for good, and nothing else is ever told."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from resonate.connections.local import LocalConnection
from resonate.context import Context
from resonate.error import DecodingError, ServerError
from resonate.heartbeat import Heartbeat, NoopHeartbeat
from resonate.resonate import Resonate
from resonate.retry import Never
from resonate.testing import FakeClock
from resonate.types import TaskData, Value
from resonate_base import ConnectorError, Network, Source

from orchestrator.engine.embedded import retention
from orchestrator.engine.embedded.connection import EmbeddedConnection
from orchestrator.engine.embedded.disk.journal import Journal
from orchestrator.engine.embedded.disk.writes import Writes
from orchestrator.engine.embedded.lease_keeper import LeaseKeeper
from orchestrator.engine.embedded.memory.state import IndexedState
from orchestrator.errors import EngineInUse, JournalUnusable

ROOT = Path(__file__).parents[4]
NOW = 1_700_000_000_000
FAR = NOW + 10**12
TARGET = {"resonate:target": "local://any@default"}
PLAIN: Mapping[str, str] = {}


class Time:
    """A clock that stands still until it is moved, and a sleeper that then wakes whoever sleeps."""

    def __init__(self) -> None:
        self.clock = FakeClock(NOW)
        self.delays: list[float] = []
        self._naps: list[asyncio.Future[None]] = []

    async def sleep(self, seconds: float) -> None:
        self.delays.append(seconds)
        nap: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._naps.append(nap)
        await nap

    def wake(self) -> None:
        for nap in self._naps:
            if not nap.done():
                nap.set_result(None)

        self._naps.clear()

    async def pass_(self, connection: EmbeddedConnection, *, seconds: float) -> None:
        """Move on, and return when the engine has done what there is to do by now."""
        self.clock.advance(seconds=seconds)

        for _ in range(2):
            self.wake()
            await calm(connection)
            await true_soon(lambda: any(not nap.done() for nap in self._naps))


async def calm(connection: EmbeddedConnection) -> None:
    """Return when nothing is under way in this process and the journal has nothing to write."""
    commits = connection._durable._commits

    for _ in range(3):
        await turns()
        await true_soon(lambda: commits is None or not (commits._running or commits._scheduled))


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def true_soon(condition: Callable[[], bool]) -> None:
    """Return when the condition holds; the journal's thread may have to get there first."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - a thread is at work, which sets no event
            await asyncio.sleep(0.001)


@asynccontextmanager
async def engine(path: Path | None, time: Time | None = None, **options: Any) -> AsyncIterator[EmbeddedConnection]:
    """An engine that is open, and has no file to itself any more afterwards."""
    seams: dict[str, Any] = {"clock": time.clock, "sleeper": time.sleep} if time is not None else {}
    connection = EmbeddedConnection(path, **seams, **options)
    await connection.open()

    try:
        yield connection
    finally:
        await connection.stop()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "engine.db"


@pytest.fixture(params=["memory", "file"])
def either(request: pytest.FixtureRequest, path: Path) -> Path | None:
    return path if request.param == "file" else None


async def ask(connection: Network, kind: str, **data: Any) -> Any:
    """Send a request and return the answer's data, with its status."""
    envelope = {"kind": kind, "head": {"corrId": "c", "version": "1"}, "data": data}
    answer = msgspec.json.decode(await connection.send(msgspec.json.encode(envelope).decode(), {}))
    assert answer["kind"] == kind
    return answer["data"] | {"status": answer["head"]["status"]}


async def create(connection: Network, id_: str, tags: Mapping[str, str] = PLAIN, *, timeout_at: int = FAR) -> Any:
    return await ask(connection, "promise.create", id=id_, timeoutAt=timeout_at, param=None, tags=tags)


async def resolve(connection: Network, id_: str, value: Any = None) -> Any:
    return await ask(connection, "promise.settle", id=id_, state="resolved", value=value)


async def state_of(connection: Network, id_: str) -> str:
    answer = await ask(connection, "promise.get", id=id_)
    return str(answer["promise"]["state"]) if answer["status"] == 200 else "unknown"


def in_memory(connection: EmbeddedConnection, id_: str) -> str:
    """Return the state of a promise without asking: asking expires what is due."""
    return connection.state.promises[id_].state


class Inbox:
    """A receiver that remembers which tasks were announced to it."""

    def __init__(self, connection: Source) -> None:
        self.messages: list[Any] = []
        connection.recv(lambda text: self.messages.append(msgspec.json.decode(text)))

    @property
    def tasks(self) -> list[str]:
        return [message["data"]["task"]["id"] for message in self.messages if message["kind"] == "execute"]


class Disk:
    """The journal's `commit`, stopped until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free = threading.Event()
        self.free.set()
        self.transactions: list[int] = []
        commit = Journal.commit

        def held(journal: Journal, writes: Writes) -> None:
            self.free.wait(30)
            self.transactions.append(len(writes.rows))
            commit(journal, writes)

        monkeypatch.setattr(Journal, "commit", held)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


# As the SDK's own


def test_it_is_a_network_and_a_source() -> None:
    connection = EmbeddedConnection(None)
    local = LocalConnection()

    assert isinstance(connection, Network)
    assert isinstance(connection, Source)
    assert connection.unicast() == local.unicast()
    assert connection.resolve_target("db") == local.resolve_target("db")


@pytest.mark.parametrize("request_", ["", "{", "3", "[]", "{}", '{"kind": "promise.fly"}', '{"kind": "promise.get"}'])
async def test_what_is_no_request_is_answered_as_by_the_sdk(either: Path | None, request_: str) -> None:
    async with engine(either) as connection:
        with pytest.raises((ServerError, DecodingError)) as theirs:
            await LocalConnection().send(request_)

        with pytest.raises(type(theirs.value)) as ours:
            await connection.send(request_)

        assert str(ours.value) == str(theirs.value)


async def test_a_step_that_fails_halfway_is_undone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with engine(path) as connection:
        await create(connection, "a", TARGET)

        with monkeypatch.context() as patch:
            patch.setattr(IndexedState, "resume_awaiters", lambda *_: 1 / 0)

            with pytest.raises(ConnectorError):
                await resolve(connection, "a")

        assert await state_of(connection, "a") == "pending"
        assert (await resolve(connection, "a"))["promise"]["state"] == "resolved"


# Durable


async def test_what_was_answered_is_there_after_a_restart(path: Path) -> None:
    async with engine(path) as connection:
        await create(connection, "a", {"x": "y"})
        first = await resolve(connection, "a", {"headers": {}, "data": "aGk="})

    async with engine(path) as connection:
        again = await ask(connection, "promise.get", id="a")
        late = await resolve(connection, "a", {"data": "other"})

    assert again["promise"] == first["promise"] == late["promise"]
    assert again["promise"]["value"] == {"headers": {}, "data": "aGk="}


async def test_nothing_is_answered_or_announced_before_it_is_on_disk(path: Path, disk: Disk) -> None:
    async with engine(path) as connection:
        inbox = Inbox(connection)
        disk.free.clear()
        asking = asyncio.create_task(create(connection, "a", TARGET))
        await asyncio.sleep(0.05)

        assert not asking.done()
        assert not inbox.tasks

        disk.free.set()
        await asking
        await calm(connection)

        assert inbox.tasks == ["a"]


async def test_a_question_waits_for_what_its_answer_tells_and_for_nothing_else(path: Path, disk: Disk) -> None:
    async with engine(path) as connection:
        await create(connection, "a", TARGET)
        await create(connection, "b", TARGET)
        disk.free.clear()
        settling = asyncio.create_task(resolve(connection, "a"))
        await turns()
        same = [asyncio.create_task(state_of(connection, "a")), asyncio.create_task(resolve(connection, "a"))]
        waiting = asyncio.create_task(connection.wait_settled("a", 30))

        assert await state_of(connection, "b") == "pending"
        assert (await ask(connection, "task.acquire", id="b", version=0, pid="p", ttl=1000))["status"] == 200

        await asyncio.sleep(0.05)

        assert not any(task.done() for task in (settling, *same, waiting))

        disk.free.set()

        assert await same[0] == "resolved"
        assert await waiting
        await asyncio.gather(settling, *same)


async def test_a_lease_waits_for_what_comes_with_it_from_another_lineage(path: Path, disk: Disk) -> None:
    async with engine(path) as connection:
        await create(connection, "a", TARGET | {"resonate:branch": "x"})
        await create(connection, "b", {"resonate:branch": "x"})
        disk.free.clear()
        settling = asyncio.create_task(resolve(connection, "b"))
        await turns()
        leasing = asyncio.create_task(ask(connection, "task.acquire", id="a", version=0, pid="p", ttl=1000))
        await asyncio.sleep(0.05)

        assert not leasing.done()

        disk.free.set()
        await settling

        assert (await leasing)["preload"][0]["state"] == "resolved"


async def test_what_is_asked_while_the_disk_is_busy_goes_there_in_one_transaction(path: Path, disk: Disk) -> None:
    async with engine(path) as connection:
        disk.free.clear()
        asking = [asyncio.create_task(create(connection, f"w{number}")) for number in range(200)]
        await turns()
        disk.free.set()
        await asyncio.gather(*asking)

    assert sum(disk.transactions) == 200
    assert len(disk.transactions) <= 2


async def test_what_is_under_way_when_it_stops_is_finished(path: Path) -> None:
    async with engine(path) as connection:
        asking = [asyncio.create_task(create(connection, f"w{number}")) for number in range(50)]
        await asyncio.sleep(0)
        await connection.stop()
        await asyncio.gather(*asking)

    async with engine(path) as connection:
        assert [await state_of(connection, f"w{number}") for number in range(50)] == ["pending"] * 50


async def test_it_answers_nothing_before_it_is_open_and_after_it_has_stopped(either: Path | None) -> None:
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


async def test_a_caller_that_gives_up_takes_nobody_with_it(path: Path, disk: Disk) -> None:
    async with engine(path) as connection:
        disk.free.clear()
        asking = [asyncio.create_task(create(connection, f"w{number}")) for number in range(3)]
        await turns()
        asking[0].cancel()
        disk.free.set()

        assert [type(answer) for answer in await asyncio.gather(*asking, return_exceptions=True)] == [
            asyncio.CancelledError,
            dict,
            dict,
        ]


class Victim:
    """A process under load, and what it was answered."""

    def __init__(self, path: Path, run: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests/support/crashing.py"), str(path), str(run)],
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        assert self._process.stdout is not None
        self._pipe = self._process.stdout
        assert self._pipe.readline() == b"open\n"
        os.set_blocking(self._pipe.fileno(), False)
        self.lines: list[bytes] = []
        self._rest = b""

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

        if number == signal.SIGSTOP:
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def read(self) -> list[bytes]:
        """Return every line so far; no more than the process had written."""
        while chunk := os.read(self._pipe.fileno(), 1 << 20) if self._ready() else b"":
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            self.lines += lines

        return list(self.lines)

    async def answered(self, count: int) -> None:
        """Return when it was answered so often: the moment of its death is one of its work, not one of the clock."""
        await true_soon(lambda: len(self.read()) >= count)

    def kill(self) -> list[bytes]:
        self._process.kill()
        self._process.wait(30)
        lines = self.read()
        self._pipe.close()
        return lines

    def _ready(self) -> bool:
        return bool(select.select([self._pipe], [], [], 0)[0])


async def untrue(path: Path, lines: list[bytes]) -> list[bytes]:
    """Return those of the acknowledgements that an engine opened on the file knows nothing of."""
    wrong = []

    async with engine(path) as connection:
        resonate = Resonate(network=connection, autostart=False, env={})

        for line in lines:
            kind, id_, *value = line.decode().split(" ")
            record = await resonate.promises.get(id_)

            if kind == "settled" and (record.state != "resolved" or record.value.data != value[0]):
                wrong.append(line)

    return wrong


@pytest.mark.timeout(600)  # ten starts of Python, which a busy machine takes ten seconds each for
async def test_nothing_that_was_answered_is_lost_when_the_process_is_killed(path: Path, tmp_path: Path) -> None:
    answered: list[bytes] = []
    chance = random.Random(20261121)  # noqa: S311 - no secret

    for run in range(10):
        victim = await asyncio.to_thread(Victim, path, run)
        await victim.answered(chance.randrange(1, 400))
        copy = tmp_path / f"copy{run}"
        copy.mkdir()
        victim.signal(signal.SIGSTOP)
        until_copied = victim.read()

        for file in path.parent.glob("engine.db*"):
            shutil.copy(file, copy)

        victim.signal(signal.SIGCONT)
        await victim.answered(len(until_copied) + chance.randrange(1, 100))
        answered += await asyncio.to_thread(victim.kill)

        assert await untrue(path, answered) == []
        assert await untrue(copy / "engine.db", until_copied) == []

    assert len(answered) > 1000


# One owner, one file


async def test_a_file_in_use_is_refused_by_its_name(path: Path) -> None:
    async with engine(path):
        with pytest.raises(EngineInUse, match=r"engine\.db is in use"):
            await EmbeddedConnection(path).open()


async def test_a_file_of_another_kind_is_refused(path: Path) -> None:
    path.write_text("no database")

    with pytest.raises(JournalUnusable):
        await EmbeddedConnection(path).open()

    assert path.read_text() == "no database"


# A full disk


@asynccontextmanager
async def full(connection: EmbeddedConnection) -> AsyncIterator[None]:
    """The file may not become larger: SQLite's own limit."""
    await pragma(connection, "max_page_count = 1")  # taken as: no larger than it is

    try:
        yield
    finally:
        await pragma(connection, "max_page_count = 1000000")


async def pragma(connection: EmbeddedConnection, text: str) -> int:
    (value,) = await connection._durable.run(lambda it: it._connection().execute(f"PRAGMA {text}").fetchone())
    return int(value)


LARGE = {"headers": {}, "data": "x" * 300_000}


async def test_a_full_disk_refuses_everything_and_shows_nothing_that_is_not_on_it(path: Path) -> None:
    async with engine(path) as connection:
        inbox = Inbox(connection)
        await create(connection, "a", TARGET)
        await calm(connection)
        await connection.start()

        async with full(connection):
            watching = asyncio.create_task(connection.wait_settled("a", 30))
            answers = await asyncio.gather(
                resolve(connection, "a", LARGE), create(connection, "b", TARGET), return_exceptions=True
            )

            assert [type(answer) for answer in answers] == [ConnectorError, ConnectorError]

            for _ in range(3):
                with pytest.raises(ConnectorError):
                    await state_of(connection, "a")

            assert not watching.done()

        assert await state_of(connection, "a") == "pending"
        assert await state_of(connection, "b") == "unknown"
        assert "b" not in inbox.tasks

        await resolve(connection, "a", LARGE)

        assert await watching

    async with engine(path) as connection:
        assert await state_of(connection, "a") == "resolved"


async def test_it_recovers_by_itself_when_there_is_room_again(path: Path) -> None:
    time = Time()

    async with engine(path, time) as connection:
        await create(connection, "a", TARGET, timeout_at=NOW + 5000)
        await connection.start()

        async with full(connection):
            with pytest.raises(ConnectorError):
                await resolve(connection, "a", LARGE)

        inbox = Inbox(connection)
        await time.pass_(connection, seconds=1)

        assert inbox.tasks == ["a"]

        await time.pass_(connection, seconds=5)

        assert await state_of(connection, "a") == "rejected_timedout"


async def test_a_limit_of_the_file_system_is_survived_as_well(path: Path) -> None:
    async with engine(path) as connection:
        await create(connection, "a")
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))

        try:
            with pytest.raises(ConnectorError):
                await resolve(connection, "a", LARGE)

            with pytest.raises(ConnectorError):
                await state_of(connection, "a")

        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

        assert await state_of(connection, "a") == "pending"

        await resolve(connection, "a", LARGE)

    async with engine(path) as connection:
        assert await state_of(connection, "a") == "resolved"


async def test_a_disk_that_fails_now_and_then_never_makes_a_false_answer(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(7)  # noqa: S311 - no secret
    commit = Journal.commit

    def unsteady(journal: Journal, writes: Writes) -> None:
        if chance.random() < 0.2:
            raise sqlite3.OperationalError("disk I/O error")

        commit(journal, writes)

    monkeypatch.setattr(Journal, "commit", unsteady)
    seen: dict[str, str] = {}

    async with engine(path) as connection:

        async def caller(number: int) -> None:
            for count in range(60):
                id_ = f"w{count % 20}"

                try:
                    await create(connection, id_)
                    seen.setdefault(id_, "pending")
                    answer = await resolve(connection, id_, {"data": f"{number}.{count}"})
                except ConnectorError:
                    continue

                if answer["status"] == 200:
                    assert seen.get(id_, "pending") in {"pending", answer["promise"]["value"]["data"]}
                    seen[id_] = answer["promise"]["value"]["data"]

        await asyncio.gather(*(caller(number) for number in range(8)))

    monkeypatch.setattr(Journal, "commit", commit)

    async with engine(path) as connection:
        for id_, data in seen.items():
            record = (await ask(connection, "promise.get", id=id_))["promise"]
            assert data in {"pending", (record["value"] or {}).get("data")}

    assert len(seen) == 20


# Tasks


async def test_leases_of_a_dead_process_are_given_back_and_announced(path: Path) -> None:
    async with engine(path) as connection:
        action = {"kind": "promise.create", "data": {"id": "made", "timeoutAt": FAR, "tags": TARGET}}
        await ask(connection, "task.create", pid="p", ttl=60_000, action=action)
        await create(connection, "taken", TARGET)
        await ask(connection, "task.acquire", id="taken", version=0, pid="p", ttl=60_000)
        await create(connection, "free", TARGET)

    async with engine(path) as connection:
        inbox = Inbox(connection)
        await connection.start()
        await calm(connection)

        assert sorted(inbox.tasks) == ["free", "made", "taken"]
        assert (await ask(connection, "task.acquire", id="made", version=1, pid="q", ttl=1000))["status"] == 200


async def test_a_task_announced_to_nobody_is_announced_to_the_first_that_comes(either: Path | None) -> None:
    async with engine(either) as connection:
        await connection.start()
        await create(connection, "a", TARGET)
        await calm(connection)
        inbox = Inbox(connection)
        await calm(connection)

        assert inbox.tasks == ["a"]


async def test_every_receiver_gets_every_message(either: Path | None) -> None:
    async with engine(either) as connection:
        one, other = Inbox(connection), Inbox(connection)
        await create(connection, "a", TARGET)
        await ask(connection, "promise.register_listener", awaited="a", address=connection.unicast())
        await resolve(connection, "a")
        await calm(connection)

        assert [message["kind"] for message in one.messages] == ["execute", "unblock"]
        assert one.messages == other.messages


async def test_a_delayed_task_is_announced_at_its_time(either: Path | None) -> None:
    time = Time()

    async with engine(either, time) as connection:
        inbox = Inbox(connection)
        await connection.start()
        await create(connection, "a", TARGET | {"resonate:delay": str(NOW + 90_000)})
        await time.pass_(connection, seconds=89)

        assert not inbox.tasks

        await time.pass_(connection, seconds=1)

        assert inbox.tasks == ["a"]


async def test_a_delayed_task_is_announced_at_its_time_after_a_restart_too(path: Path) -> None:
    time = Time()

    async with engine(path, time) as connection:
        await create(connection, "a", TARGET | {"resonate:delay": str(NOW + 90_000)})

    async with engine(path, time) as connection:
        inbox = Inbox(connection)
        await connection.start()
        await time.pass_(connection, seconds=89)

        assert not inbox.tasks

        await time.pass_(connection, seconds=1)

        assert inbox.tasks == ["a"]


async def test_a_timer_still_running_is_not_announced(either: Path | None) -> None:
    time = Time()

    async with engine(either, time) as connection:
        inbox = Inbox(connection)
        await connection.start()
        await create(connection, "a", TARGET | {"resonate:timer": "true"}, timeout_at=NOW + 90_000)
        await time.pass_(connection, seconds=60)

        assert not inbox.tasks

        await time.pass_(connection, seconds=30)

        assert await state_of(connection, "a") == "resolved"


async def release(connection: EmbeddedConnection, id_: str) -> None:
    await ask(connection, "task.acquire", id=id_, version=0, pid="p", ttl=60_000)
    await ask(connection, "task.release", id=id_, version=0)
    await calm(connection)


async def test_a_task_given_back_again_and_again_is_announced_ever_later(either: Path | None) -> None:
    time = Time()

    async with engine(either, time) as connection:
        inbox = Inbox(connection)
        await connection.start()
        await create(connection, "poison", TARGET)
        await calm(connection)
        pauses = []

        for _ in range(12):
            await release(connection, "poison")
            waited = 0
            before = len(inbox.tasks)

            while len(inbox.tasks) == before:
                await time.pass_(connection, seconds=0.1)
                waited += 100

            pauses.append(waited)
            assert len(inbox.tasks) == before + 1

        assert pauses[1:9] == [100, 200, 400, 800, 1600, 3200, 6400, 12800]
        assert pauses[10] == pauses[11] == 29_000


async def test_a_task_given_back_once_is_announced_at_once_and_so_is_one_that_got_on(either: Path | None) -> None:
    time = Time()

    async with engine(either, time) as connection:
        inbox = Inbox(connection)
        await create(connection, "a", TARGET)
        await create(connection, "a:1")
        await release(connection, "a")

        assert inbox.tasks == ["a", "a"]

        await ask(connection, "task.acquire", id="a", version=1, pid="p", ttl=60_000)
        await ask(connection, "task.suspend", id="a", version=1, actions=[{"awaited": "a:1"}])
        await resolve(connection, "a:1")
        await release(connection, "a")

        assert inbox.tasks == ["a", "a", "a", "a"]


async def long_step(path: Path | None, keeper: Callable[[EmbeddedConnection], Heartbeat]) -> int:
    """Run a step for three minutes on a lease of one; return how often it was begun."""
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


def test_a_keeper_that_is_shut_down_keeps_nothing() -> None:
    connection = EmbeddedConnection(None)
    keeper = LeaseKeeper(connection)
    keeper.start("a", 1)
    keeper.start("b", 2)
    keeper.stop("a")

    assert connection.leases == {"b": 2}

    keeper.shutdown()

    assert not connection.leases


async def test_a_step_under_way_goes_on_undisturbed_when_the_disk_was_full_meanwhile(path: Path) -> None:
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


# Time


async def test_a_deadline_fires_although_nobody_asks(either: Path | None) -> None:
    time = Time()

    async with engine(either, time) as connection:
        await connection.start()
        await calm(connection)
        await create(connection, "a", TARGET, timeout_at=NOW + 3_600_000)
        watching = asyncio.create_task(connection.wait_settled("a", 30))
        await time.pass_(connection, seconds=3599)

        assert in_memory(connection, "a") == "pending"

        await time.pass_(connection, seconds=1)

        assert in_memory(connection, "a") == "rejected_timedout"
        assert await watching


async def test_it_sleeps_until_the_next_deadline_even_one_set_meanwhile(either: Path | None) -> None:
    time = Time()

    async with engine(either, time, tick_interval=60) as connection:
        await connection.start()
        await calm(connection)

        assert time.delays[-1] == 60

        await create(connection, "a", TARGET, timeout_at=NOW + 7000)
        await calm(connection)

        assert time.delays[-1] == 7

        await create(connection, "b", TARGET, timeout_at=NOW + 1)
        await calm(connection)

        assert time.delays[-1] == 0.005


async def test_a_deadline_that_passed_while_it_was_away_fires_when_it_is_back(path: Path) -> None:
    time = Time()

    async with engine(path, time) as connection:
        await create(connection, "a", TARGET, timeout_at=NOW + 5000)

    time.clock.advance(seconds=10)

    async with engine(path, time) as connection:
        await connection.start()
        await calm(connection)

        assert in_memory(connection, "a") == "rejected_timedout"


async def test_ten_thousand_deadlines_at_once_leave_the_loop_to_others(either: Path | None) -> None:
    time = Time()

    async with engine(either, time) as connection:
        due = NOW + 50_000
        await asyncio.gather(*(create(connection, f"w{n}", TARGET, timeout_at=due) for n in range(3000)))
        await connection.start()
        await calm(connection)
        time.clock.advance(seconds=60)
        slices = 0
        time.wake()

        while any(promise.state == "pending" for promise in connection.state.promises.values()):
            await asyncio.sleep(0)
            slices += 1

        assert slices >= 3000 // 256


async def test_time_never_goes_back_for_it(path: Path) -> None:
    time = Time()

    async with engine(path, time) as connection:
        time.clock.advance(seconds=1000)
        await create(connection, "a")
        time.clock.advance(seconds=-5000)
        second = await create(connection, "b")

    async with engine(path, time) as connection:
        third = await create(connection, "c")
        expired = await create(connection, "d", TARGET, timeout_at=NOW + 500_000)

    assert second["promise"]["createdAt"] == third["promise"]["createdAt"] == NOW + 1_000_000
    assert expired["promise"]["state"] == "rejected_timedout"


# Waiting


async def test_waiting_ends_with_the_settlement(either: Path | None) -> None:
    async with engine(either) as connection:
        await create(connection, "a")
        waiting = [asyncio.create_task(connection.wait_settled("a", 30)) for _ in range(3)]
        await calm(connection)

        assert not any(task.done() for task in waiting)

        await resolve(connection, "a")

        assert await asyncio.gather(*waiting) == [True, True, True]
        assert await connection.wait_settled("a", 0)
        assert not connection._waiters


async def test_waiting_ends_with_the_time_and_leaves_nothing_behind(either: Path | None) -> None:
    async with engine(either) as connection:
        await create(connection, "a")

        assert not await connection.wait_settled("a", 0)
        assert not await connection.wait_settled("unknown", 0)

        waiting = asyncio.create_task(connection.wait_settled("a", 30))
        await calm(connection)
        waiting.cancel()

        with pytest.raises(asyncio.CancelledError):
            await waiting

        assert not connection._waiters


# Keeping house


async def finished(connection: EmbeddedConnection, id_: str, tags: Mapping[str, str] = PLAIN) -> None:
    await create(connection, id_, TARGET | dict(tags))
    await create(connection, f"{id_}:1")
    await resolve(connection, f"{id_}:1", {"data": id_})
    await resolve(connection, id_, {"data": id_})


async def test_what_is_over_leaves_memory_and_is_there_when_it_is_asked_for(path: Path) -> None:
    time = Time()

    async with engine(path, time) as connection:
        await connection.start()
        await asyncio.gather(*(finished(connection, f"w{number}") for number in range(200)))
        await time.pass_(connection, seconds=30)
        await until(connection, time, lambda: connection.state.lineages() == 0)

        assert await state_of(connection, "w7") == "resolved"
        assert (await ask(connection, "promise.get", id="w7:1"))["promise"]["value"] == {"data": "w7"}
        assert await connection.wait_settled("w8:1", 0)
        assert (await create(connection, "w9"))["status"] == 200
        assert (await resolve(connection, "w9:1", {"data": "late"}))["promise"]["value"] == {"data": "w9"}
        assert connection.state.lineages() == 3

        await time.pass_(connection, seconds=30)
        await until(connection, time, lambda: connection.state.lineages() == 0)

        assert await state_of(connection, "w7") == "resolved"

    async with engine(path, time) as connection:
        assert connection.state.lineages() == 0
        assert await state_of(connection, "w7") == "resolved"


def archived(connection: EmbeddedConnection) -> AbstractSet[str]:
    """Return the lineages that are on disk only."""
    assert connection._durable._housekeeping is not None
    return connection._durable._housekeeping.archived


async def until(connection: EmbeddedConnection, time: Time, condition: Callable[[], bool]) -> None:
    for _ in range(200):
        if condition():
            return

        await time.pass_(connection, seconds=0.1)

    pytest.fail("it never came true")


async def test_what_was_over_and_is_changed_after_all_keeps_the_change(path: Path) -> None:
    time = Time()

    async with engine(path, time) as connection:
        await connection.start()
        await finished(connection, "a")
        await time.pass_(connection, seconds=30)
        await until(connection, time, lambda: connection.state.lineages() == 0)
        await create(connection, "a:2")
        await resolve(connection, "a:2", {"data": "new"})

    async with engine(path, time) as connection:
        await connection.start()
        assert (await ask(connection, "promise.get", id="a:2"))["promise"]["value"] == {"data": "new"}
        assert (await ask(connection, "promise.get", id="a:1"))["promise"]["value"] == {"data": "a"}

        await time.pass_(connection, seconds=30)
        await until(connection, time, lambda: connection.state.lineages() == 0)

    async with engine(path, time) as connection:
        assert (await ask(connection, "promise.get", id="a:2"))["promise"]["value"] == {"data": "new"}


async def test_a_change_is_kept_although_the_journal_was_shortened_before_it_was_over_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = Time()

    async with engine(path, time) as connection:
        await connection.start()
        await finished(connection, "a")
        await time.pass_(connection, seconds=30)
        await until(connection, time, lambda: connection.state.lineages() == 0)
        monkeypatch.setattr(retention, "SHORTEST_JOURNAL", 0)
        monkeypatch.setattr(retention, "ROWS_PER_LINEAGE", 0)
        await create(connection, "a:2")
        await create(connection, "b", TARGET)
        await create(connection, "c", TARGET)
        await time.pass_(connection, seconds=30)
        await until(connection, time, lambda: connection.state.lineages() == 2)

        assert await state_of(connection, "a:2") == "pending"


@pytest.mark.parametrize("tags", [PLAIN, TARGET])
async def test_a_change_made_while_it_moves_to_the_disk_is_kept(
    path: Path, disk: Disk, tags: Mapping[str, str]
) -> None:
    time = Time()

    async with engine(path, time) as connection:
        await connection.start()
        await finished(connection, "a")
        time.clock.advance(seconds=30)
        disk.free.clear()
        time.wake()
        commits = connection._durable._commits
        assert commits is not None
        await true_soon(lambda: commits._running is not None and commits._running.archived == ["a"])
        changing = asyncio.create_task(create(connection, "a:2", tags))
        await turns()
        disk.free.set()
        await changing

        assert await state_of(connection, "a:2") == "pending"

    async with engine(path, time) as connection:
        assert await state_of(connection, "a:2") == "pending"


async def test_what_is_over_is_deleted_after_its_retention(either: Path | None) -> None:
    time = Time()
    hours = {"retention": timedelta(hours=3), "transient_retention": timedelta(minutes=1)}

    async with engine(either, time, **hours) as connection:
        await connection.start()
        await finished(connection, "long")
        await finished(connection, "short", {"countersign:transient": "true"})
        await create(connection, "open", TARGET)
        await time.pass_(connection, seconds=50)

        assert await state_of(connection, "short") == "resolved"

        await time.pass_(connection, seconds=60)
        await time.pass_(connection, seconds=60)

        assert await state_of(connection, "short") == "unknown"
        assert await state_of(connection, "long") == "resolved"

        await time.pass_(connection, seconds=4 * 3600)
        await time.pass_(connection, seconds=60)
        await time.pass_(connection, seconds=60)

        assert await state_of(connection, "long") == "unknown"
        assert await state_of(connection, "open") == "pending"
        assert (await create(connection, "long"))["status"] == 201

    if either is not None:
        async with engine(either, time, **hours) as connection:
            assert await state_of(connection, "long") == "pending"
            assert await state_of(connection, "long:1") == "unknown"
            assert await state_of(connection, "short") == "unknown"


async def test_the_journal_stays_short_under_load_and_nothing_is_lost(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "SHORTEST_JOURNAL", 100)
    monkeypatch.setattr(retention, "LINGER", 0)
    monkeypatch.setattr(retention, "ROWS_PER_LINEAGE", 2)
    chance = random.Random(3)  # noqa: S311 - no secret
    expected: dict[str, str] = {}

    async with engine(path, retention=timedelta(days=1)) as connection:
        await connection.start()

        async def caller(number: int) -> None:
            for count in range(60):
                id_ = f"w{number}.{count}"
                await create(connection, id_, TARGET)

                if chance.random() < 0.8:
                    await finished(connection, id_)

                expected[id_] = "pending"
                other = chance.choice(list(expected))
                expected[other] = await state_of(connection, other)

        await asyncio.gather(*(caller(number) for number in range(16)))
        await asyncio.gather(*(create(connection, f"x{number}") for number in range(300)))
        assert connection._durable._commits is not None
        rows = connection._durable._commits.length

        assert rows < 3 * (100 + 2 * connection.state.lineages())

        for id_ in expected:
            expected[id_] = await state_of(connection, id_)

    async with engine(path) as connection:
        assert {id_: await state_of(connection, id_) for id_ in expected} == expected


async def test_memory_and_file_do_not_grow_with_what_has_come_and_gone(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "SHORTEST_JOURNAL", 500)
    time = Time()
    sizes = []

    async with engine(path, time, retention=timedelta(seconds=20)) as connection:
        await connection.start()

        for round_ in range(8):
            await asyncio.gather(*(finished(connection, f"w{round_}.{number}") for number in range(250)))
            await time.pass_(connection, seconds=30)
            await until(connection, time, lambda: connection.state.lineages() == 0)
            await time.pass_(connection, seconds=60)
            await until(connection, time, lambda: not archived(connection))
            sizes.append(await pragma(connection, "page_count"))
            state = connection.state

            assert not state.promises
            assert not state.tasks
            assert not state._branches
            assert not state._awaiting
            assert len(state._promise_deadlines) == len(state._task_deadlines) == 0

    assert sizes[-1] <= 1.2 * sizes[2]


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
