"""What a worker gets with a task from a database that leaves out what is on record: what it has seen itself.

Long because each rule is tested alone, on a database that is told what to say, and what they are for on a real one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from support.engines import Database
from support.plant import pause, plant

from orchestrator import Context, open_callback, workflow
from orchestrator.engine.remote.batching import BatchingNetwork
from orchestrator.engine.remote.preloading import PreloadingNetwork

TAGS = {"resonate:scope": "global", "countersign:nonce": "1"}
CONFLICT = {"kind": "task.acquire", "head": {"status": 409}, "data": "conflict"}


def promise(promise_id: str, state: str = "pending", scope: str = "global", value: str = "") -> dict[str, Any]:
    return {
        "id": promise_id,
        "state": state,
        "value": {"data": value},
        "tags": {"resonate:scope": scope},
        "createdAt": 1,
    }


def text(document: object) -> str:
    """Return the document as a database writes it."""
    return json.dumps(document)


def request(kind: str, **data: object) -> str:
    return json.dumps({"kind": kind, "head": {"corrId": "c", "version": "1"}, "data": data}, separators=(",", ":"))


class Fake:
    """A database with runs, and with the records of some promises."""

    def __init__(self) -> None:
        self.root = promise("w.1") | {"tags": TAGS}
        self.records: dict[str, dict[str, Any]] = {}
        self.read: list[list[str]] = []
        self.refuses = self.is_mute = False
        self.pause: asyncio.Event | None = None

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def send(self, req: str, headers: dict[str, str] | None = None) -> str:
        asked = json.loads(req)

        match asked["kind"]:
            case "task.fence":
                record = asked["data"]["action"]["data"]
                self.records[record["id"]] = record
                inner = {"kind": "promise.create", "head": {"status": 200}, "data": {"promise": record}}
                data: object = {"action": inner, "preload": []}
            case "promise.get":
                record = self.records.get(asked["data"]["id"])
                status = 404 if record is None else 200
                return text({"kind": "promise.get", "head": {"status": status}, "data": record and {"promise": record}})
            case kind:
                data = {"of": kind}

        return text({"kind": asked["kind"], "head": {"status": 200}, "data": data})

    async def send_with(
        self, req: str, reads: Sequence[str], headers: dict[str, str] | None = None
    ) -> tuple[str, list[str]]:
        assert json.loads(req)["kind"] == "task.acquire"
        self.read.append([json.loads(read)["data"]["id"] for read in reads])

        if self.pause is not None:
            await self.pause.wait()

        if self.refuses:
            return text(CONFLICT), []

        task = {"id": "w.1", "state": "acquired", "version": 2}
        taken = {"kind": "task.acquire", "head": {"status": 200}}
        reply = taken | {"data": {"task": task, "promise": self.root, "preload": []}}

        return text(reply), [] if self.is_mute else [await self.send(read) for read in reads]


class Worker:
    """What a worker does with its network."""

    def __init__(self, **limits: int) -> None:
        self.database = Fake()
        self._network = PreloadingNetwork(self.database, **limits)

    async def take(self, task_id: str = "w.1") -> Any:
        """Take the task; return what is preloaded, or the reply if it was refused."""
        reply = json.loads(await self._network.send(request("task.acquire", id=task_id, version=1)))

        return reply["data"]["preload"] if reply["head"]["status"] == 200 else reply

    async def record(self, one: dict[str, Any], task_id: str = "w.1") -> None:
        """Have this recorded under the lease, and see the reply."""
        action = {"kind": "promise.create", "data": one}
        reply = await self._network.send(request("task.fence", id=task_id, version=1, action=action))
        assert json.loads(reply)["data"]["action"]["data"]["promise"] == one

    async def fulfill(self) -> None:
        await self._network.send(request("task.fulfill", id="w.1", version=1))


@pytest.fixture
async def worker() -> Worker:
    one = Worker()
    assert await one.take() == []
    return one


async def test_what_was_seen_settled_comes_with_the_next_task(worker: Worker) -> None:
    step = promise("w.1:1", scope="local")
    await worker.record(step)
    assert await worker.take() == []

    done = step | {"state": "resolved", "value": {"data": "sealed"}}
    failed = promise("w.1:2", "rejected", scope="local")
    await worker.record(done)
    await worker.record(failed)

    assert await worker.take() == [done, failed]
    assert await worker.take() == [done, failed]


async def test_an_open_wait_is_read_again_with_the_task(worker: Worker) -> None:
    await worker.record(promise("w.1:1"))
    assert await worker.take() == [promise("w.1:1")]

    answered = worker.database.records["w.1:1"] = promise("w.1:1", "resolved", value="yes")
    assert await worker.take() == [answered]
    # It is known now, and read no more.
    assert await worker.take() == [answered]
    assert worker.database.read == [[], ["w.1:1"], ["w.1:1"], []]


async def test_steps_and_promises_of_other_lineages_are_not_read(worker: Worker) -> None:
    await worker.record(promise("w.1:1", scope="local"))
    await worker.record(promise("w.2"))
    await worker.take()

    assert worker.database.read[-1] == []


async def test_a_few_of_many_open_waits_are_read(worker: Worker) -> None:
    for number in range(40):
        await worker.record(promise(f"w.1:{number}"))

    assert [record["id"] for record in await worker.take()] == [f"w.1:{number}" for number in range(16)]


@pytest.mark.parametrize("other", [{"createdAt": 2}, {"tags": TAGS | {"countersign:nonce": "2"}}])
async def test_another_run_with_the_same_id_gets_nothing_of_the_earlier_one(
    worker: Worker, other: dict[str, object]
) -> None:
    await worker.record(promise("w.1:1", "resolved"))
    await worker.record(promise("w.1:2"))
    worker.database.root |= other

    assert await worker.take() == []
    assert await worker.take() == []


async def test_a_run_that_has_ended_is_forgotten(worker: Worker) -> None:
    await worker.record(promise("w.1:1", "resolved"))
    await worker.fulfill()

    assert await worker.take() == []


async def test_a_refusal_passes_as_it_is_and_forgets_nothing(worker: Worker) -> None:
    await worker.record(promise("w.1:1", "resolved"))
    worker.database.refuses = True
    assert await worker.take() == CONFLICT

    worker.database.refuses = False
    assert await worker.take() == [promise("w.1:1", "resolved")]


async def test_what_could_not_be_read_is_left_out(worker: Worker) -> None:
    await worker.record(promise("w.1:1", "resolved"))
    await worker.record(promise("w.1:2"))
    worker.database.is_mute = True
    assert await worker.take() == [promise("w.1:1", "resolved")]

    worker.database.is_mute = False
    del worker.database.records["w.1:2"]
    assert await worker.take() == [promise("w.1:1", "resolved")]


async def test_the_run_that_was_taken_longest_ago_is_forgotten_first() -> None:
    worker = Worker(most=5000)

    for run in ("w.1", "w.2", "w.3"):
        await worker.take(run)

    for run in ("w.1", "w.2"):
        await worker.record(promise(f"{run}:1", "resolved", value="x" * 800), run)

    assert len(await worker.take("w.1")) == 1
    await worker.record(promise("w.3:1", "resolved", value="x" * 800), "w.3")

    assert [len(await worker.take(run)) for run in ("w.1", "w.2", "w.3")] == [1, 0, 1]


async def test_runs_of_which_nothing_is_settled_are_forgotten_too() -> None:
    worker = Worker(most=5000)
    await worker.take("w.1")
    await worker.record(promise("w.1:1"))

    for run in range(2, 8):
        await worker.take(f"w.{run}")

    assert await worker.take("w.1") == []
    assert worker.database.read[-1] == []


async def test_the_ids_of_open_waits_count_once_each() -> None:
    worker = Worker(most=3000)
    await worker.take()

    for _ in range(500):
        await worker.record(promise("w.1:0"))

    assert len(await worker.take()) == 1

    for number in range(500):
        await worker.record(promise(f"w.1:{number}"))

    assert await worker.take() == []


async def test_a_run_that_is_forgotten_while_it_is_taken_is_known_from_then_on() -> None:
    worker = Worker(most=5000)
    await worker.take("w.1")
    await worker.record(promise("w.1:1", "resolved"))
    worker.database.pause = asyncio.Event()
    taking = asyncio.create_task(worker.take("w.1"))
    await pause(0)
    pausing, worker.database.pause = worker.database.pause, None

    for run in range(2, 8):
        await worker.take(f"w.{run}")

    pausing.set()
    assert await taking == []

    await worker.record(promise("w.1:2", "resolved"))
    assert await worker.take("w.1") == [promise("w.1:2", "resolved")]


async def test_what_is_seen_twice_is_kept_once(worker: Worker) -> None:
    for _ in range(3):
        await worker.record(promise("w.1:1", "resolved", value="x" * 400_000))

    await worker.record(promise("w.1:2", "resolved", value="x" * 400_000))
    assert len(await worker.take()) == 2


async def test_a_run_with_much_on_record_keeps_the_beginning_of_it(worker: Worker) -> None:
    for number in range(3):
        await worker.record(promise(f"w.1:{number}", "resolved", value="x" * 400_000))

    assert [record["id"] for record in await worker.take()] == ["w.1:0", "w.1:1"]


# On a real database


class Nothing(BaseModel):
    pass


async def a_step(_ctx: Context, number: int) -> int:
    return number


@workflow(name="stepping")
async def stepping(ctx: Context, request: Nothing) -> list[object]:
    steps = [await ctx.run(a_step, number) for number in range(5)]
    one = await open_callback(ctx, "one", deadline=timedelta(days=1))
    other = await open_callback(ctx, "other", deadline=timedelta(days=1))

    return [*steps, (await one).kind, (await other).kind]


async def test_a_replay_asks_for_nothing_that_was_seen(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds: list[str] = []
    carry = BatchingNetwork.send_with

    async def seen(network: BatchingNetwork, req: str, *args: Any) -> tuple[str, list[str]]:
        kinds.append(json.loads(req)["kind"])

        return await carry(network, req, *args)

    monkeypatch.setattr(BatchingNetwork, "send_with", seen)

    async with plant(tmp_path, database.fresh(), stepping) as works:
        await works.start("1")
        await works.opened("stepping.1:7")
        fences = kinds.count("task.fence")

        await works.answer("stepping.1:6", name="one")
        await works.answer("stepping.1:7", name="other")

        assert await works.ended("1") == ("succeeded", [0, 1, 2, 3, 4, "succeeded", "succeeded"])

    # Five steps are begun and settled, two waits opened.
    assert kinds.count("task.fence") == fences == 12


@pytest.mark.parametrize("trouble", ["forgets", "loses reads"])
async def test_a_replay_gets_the_same_from_a_worker_that_knows_nothing(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    carry = BatchingNetwork.send_with

    async def losing(network: BatchingNetwork, req: str, reads: Sequence[str], *args: Any) -> tuple[str, list[str]]:
        return (await carry(network, req, reads, *args))[0], []

    if trouble == "loses reads":
        monkeypatch.setattr(BatchingNetwork, "send_with", losing)
    else:
        monkeypatch.setattr(PreloadingNetwork, "_keep", lambda *_: None)

    async with plant(tmp_path, database.fresh(), stepping) as works:
        await works.start("1")

        for number, name in (7, "other"), (6, "one"):
            await works.opened(f"stepping.1:{number}")
            await works.answer(f"stepping.1:{number}", name=name)

        assert await works.ended("1") == ("succeeded", [0, 1, 2, 3, 4, "succeeded", "succeeded"])
