"""The indexed state machine: equal to the SDK's in all it says, complete in what it reports, and able to forget."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resonate.connections.local import DurablePromise, ServerState, Task
from resonate.error import ServerError

from orchestrator.engine.embedded.disk.images import LineageImage, decode
from orchestrator.engine.embedded.memory.lineages import origin_of
from orchestrator.engine.embedded.memory.state import IndexedState

IDS = ("a", "b", "a:1", "a:2", "a:1.1", "b:1", "c:1")
FOREVER = (1 << 63) - 1
PLAIN: Mapping[str, str] = {}

TAGS = {
    "resonate:target": ("local://any@default",),
    "resonate:timer": ("true",),
    "resonate:branch": ("a", "a:1", "b"),
    "resonate:delay": ("30", "70000", "soon"),
    "countersign:transient": ("true",),
}
LIKELY = {"resonate:target": 0.8, "resonate:timer": 0.1, "resonate:branch": 0.7}
VALUES = (None, {"headers": {}, "data": "aGk="}, {"data": ""})
STATES = ("resolved", "rejected", "rejected_canceled")


class Scenario:
    """Draws steps that make sense often enough to get deep: mostly about what is there, in the state it is in."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def next(self, state: ServerState) -> tuple[int, dict[str, Any] | None]:
        """Return how much later the next step is, and its request; None for a tick."""
        later = self.random.choice((0, 0, 0, 0, 0, 1, 1, 5, 60, 40_000 if self.random.random() < 0.3 else 0))

        if self.random.random() < 0.15:
            return later, None

        return later, {"corrId": "c", **self.random.choice(self.KINDS)(self, state)}

    def some(self, ids: Iterable[str]) -> str:
        """Return one of the ids in nine cases of ten, any one otherwise."""
        known = list(ids)
        return self.random.choice(known if known and self.random.random() < 0.9 else IDS)

    def task(self, state: ServerState, *states: str) -> str:
        return self.some(id_ for id_, task in state.tasks.items() if task.state in states)

    def leased(self, state: ServerState) -> dict[str, Any]:
        id_ = self.task(state, "acquired")
        task = state.tasks.get(id_)
        return {"id": id_, "version": task.version if task is not None and self.random.random() < 0.9 else 9}

    def creation(self) -> dict[str, Any]:
        tags = {key: self.random.choice(TAGS[key]) for key in TAGS if self.random.random() < LIKELY.get(key, 0.2)}
        return {
            "id": self.random.choice(IDS),
            "timeoutAt": self.random.choice((0, 90, 300, 70_000, *[FOREVER] * 8)),
            "param": self.random.choice(VALUES),
            "tags": tags,
        }

    def settlement(self, state: ServerState) -> dict[str, Any]:
        open_ = (id_ for id_, promise in state.promises.items() if promise.state == "pending")
        return {"id": self.some(open_), "state": self.random.choice(STATES), "value": self.random.choice(VALUES)}

    def create(self, state: ServerState) -> dict[str, Any]:
        return {"kind": "promise.create", **self.creation()}

    def settle(self, state: ServerState) -> dict[str, Any]:
        return {"kind": "promise.settle", **self.settlement(state)}

    def get(self, state: ServerState) -> dict[str, Any]:
        return {"kind": "promise.get", "id": self.some(state.promises)}

    def listen(self, state: ServerState) -> dict[str, Any]:
        address = self.random.choice(("one", "two"))
        return {"kind": "promise.register_listener", "awaited": self.some(state.promises), "address": address}

    def create_task(self, state: ServerState) -> dict[str, Any]:
        data = self.creation()
        return {"kind": "task.create", "pid": "p", "ttl": 50, "action": {"kind": "promise.create", "data": data}}

    def acquire(self, state: ServerState) -> dict[str, Any]:
        ttl = self.random.choice((0, 50, 60_000))
        return {"kind": "task.acquire", "id": self.task(state, "pending"), "pid": "p", "ttl": ttl}

    def release(self, state: ServerState) -> dict[str, Any]:
        return {"kind": "task.release", **self.leased(state)}

    def fulfil(self, state: ServerState) -> dict[str, Any]:
        lease = self.leased(state)
        data = self.settlement(state) | ({"id": lease["id"]} if self.random.random() < 0.7 else {})
        return {"kind": "task.fulfill", **lease, "action": {"kind": "promise.settle", "data": data}}

    def fence(self, state: ServerState) -> dict[str, Any]:
        kind, data = self.random.choice(
            (
                ("promise.create", self.creation()),
                ("promise.settle", self.settlement(state)),
                ("promise.forget", self.creation()),
            )
        )
        return {"kind": "task.fence", **self.leased(state), "action": {"kind": kind, "data": data}}

    def suspend(self, state: ServerState) -> dict[str, Any]:
        awaited = [self.some(state.promises) for _ in range(self.random.randrange(4))]
        actions = [{"kind": "promise.register_callback", "head": {}, "data": {"awaited": id_}} for id_ in awaited]
        return {"kind": "task.suspend", **self.leased(state), "actions": actions}

    def beat(self, state: ServerState) -> dict[str, Any]:
        return {"kind": "task.heartbeat", "pid": "p", "tasks": [self.leased(state)]}

    def schedule(self, state: ServerState) -> dict[str, Any]:
        tags = {"resonate:target": "x"} if self.random.random() < 0.8 else {}
        kind = self.random.choice(("create", "get", "delete", "search"))
        fields = {"id": self.random.choice(IDS), "cron": "* * * * *", "promiseId": "x", "promiseTags": tags}
        return {"kind": f"schedule.{kind}", **fields}

    def nonsense(self, state: ServerState) -> dict[str, Any]:
        return {"kind": self.random.choice(("promise.create", "task.suspend", "promise.search")), "id": ""}

    KINDS = (
        *(create, create, create, settle, settle, get, listen, create_task, acquire, acquire, acquire, acquire),
        *(release, fulfil, fence, fence, fence, suspend, suspend, suspend, beat, schedule, nonsense),
    )


# Python's own generator: drawing each choice from hypothesis takes a hundred times as long.
scenarios = st.integers(0, 2**64).map(lambda seed: Scenario(Random(seed)))  # noqa: S311 - no secret
lengths = st.integers(1, 250)


def plain(value: Any) -> Any:
    """Return a JSON value as whoever receives it sees it."""
    return msgspec.json.decode(msgspec.json.encode(value))


def step(state: ServerState, now: int, request: dict[str, Any] | None) -> Any:
    state.outgoing.clear()

    try:
        return state.tick(now) if request is None else plain(state.apply(now, request))
    except ServerError as error:
        return error.code, error.message


def said(state: ServerState) -> Counter[bytes]:
    messages = [plain((message.address, message.message)) for message in state.outgoing]
    return Counter(msgspec.json.encode(message, order="sorted") for message in messages)


def promises(state: ServerState) -> dict[str, Any]:
    return {id_: plain(msgspec.structs.asdict(promise)) | sets(promise) for id_, promise in state.promises.items()}


def sets(promise: DurablePromise) -> dict[str, Any]:
    return {"awaiters": sorted(promise.awaiters), "subscribers": sorted(promise.subscribers)}


def tasks(state: ServerState) -> dict[str, Any]:
    return {id_: described(task) for id_, task in state.tasks.items()}


def described(task: Task) -> dict[str, Any]:
    return msgspec.structs.asdict(task) | {"resumes": sorted(task.resumes)}


def same(stored: dict[str, LineageImage], state: IndexedState) -> None:
    """Assert that what is stored is what the state holds, but for leases, which die with the process."""
    merged = ServerState()
    for image in stored.values():
        merged.promises.update(image.promises)
        merged.tasks.update(image.tasks)
        merged.schedules.update(image.schedules)

    assert promises(merged) == promises(state)
    assert merged.schedules == state.schedules
    assert set(merged.tasks) == set(state.tasks)

    for task in state.tasks.values():
        if task.state == "acquired":
            assert merged.tasks[task.id].state in {"pending", "acquired"}
            assert merged.tasks[task.id].version == task.version
        else:
            assert described(merged.tasks[task.id]) == described(task)


@settings(max_examples=300, deadline=None)
@given(scenarios, lengths)
def test_it_answers_and_says_what_the_sdks_own_machine_does(scenario: Scenario, length: int) -> None:
    theirs, ours, now = ServerState(), IndexedState(), 10

    for _ in range(length):
        later, request = scenario.next(theirs)
        now += later

        assert step(ours, now, request) == step(theirs, now, request)
        assert said(ours) == said(theirs)

        ours.take_outgoing()

    assert promises(ours) == promises(theirs)
    assert tasks(ours) == tasks(theirs)
    assert list(ours.promises) == list(theirs.promises)
    assert {id_: at for id_, _, at in ours._promise_deadlines.items()} == {
        entry.id: entry.timeout for entry in theirs.p_timeouts
    }
    assert {id_: (kind, at) for id_, kind, at in ours._task_deadlines.items()} == {
        entry.id: (entry.typ, entry.timeout) for entry in theirs.t_timeouts
    }


@settings(max_examples=300, deadline=None)
@given(scenarios, lengths, st.sets(st.integers(0, 250)))
def test_what_it_reports_as_changed_is_enough_to_make_it_again(
    scenario: Scenario, length: int, snapshots_after: set[int]
) -> None:
    state, now = IndexedState(), 10
    stored: dict[str, LineageImage] = {}

    for number in range(length):
        later, request = scenario.next(state)
        now += later
        step(state, now, request)
        state.take_outgoing()
        changes = state.take_changes()

        for origin, images in changes.rows if changes is not None else []:
            stored.setdefault(origin, LineageImage()).apply(decode(images))

        same(stored, state)

        if number in snapshots_after:
            stored = {origin: LineageImage() for origin in stored}

            for origin, image in stored.items():
                image.apply(decode(state.snapshot(origin)))

            same(stored, state)

    again = IndexedState()

    for image in stored.values():
        again.adopt(image, now)

    assert {id_: at for id_, _, at in again._promise_deadlines.items()} == {
        id_: at for id_, _, at in state._promise_deadlines.items()
    }
    assert again._awaiting == {id_: awaited for id_, awaited in state._awaiting.items() if awaited}
    assert set(again._lineages._finished[0]) == set(state._lineages._finished[0])
    assert set(again._lineages._finished[1]) == set(state._lineages._finished[1])
    assert promises(again) == promises(state)


def created(state: IndexedState, id_: str, tags: Mapping[str, str] = PLAIN) -> None:
    state.apply(10, {"kind": "promise.create", "id": id_, "timeoutAt": FOREVER, "tags": tags})


def settled(state: IndexedState, id_: str, now: int = 20) -> None:
    state.apply(now, {"kind": "promise.settle", "id": id_, "state": "resolved", "value": None})


TARGET = {"resonate:target": "local://any@default"}


def test_a_lineage_is_over_when_its_root_is_settled_and_no_task_of_it_can_run() -> None:
    state = IndexedState()
    created(state, "a", TARGET)
    created(state, "a:1", TARGET)
    created(state, "a:2")
    settled(state, "a", 20)

    assert list(state.finished_before(1000)) == []

    settled(state, "a:1", 30)

    assert list(state.finished_before(30)) == []
    assert list(state.finished_before(31)) == ["a"]


def test_a_lineage_that_gets_new_work_is_no_longer_over() -> None:
    state = IndexedState()
    created(state, "a")
    settled(state, "a")
    created(state, "a:1", TARGET)

    assert state.finished_at("a") is None


def test_transient_lineages_are_told_apart() -> None:
    state = IndexedState()
    created(state, "a", {"countersign:transient": "true"})
    created(state, "b")
    settled(state, "a")
    settled(state, "b")

    assert list(state.finished_before(1000, transient=True)) == ["a"]
    assert list(state.finished_before(1000)) == ["b"]


def test_a_lineage_with_a_schedule_is_not_over() -> None:
    state = IndexedState()
    created(state, "a")
    settled(state, "a")
    state.apply(
        20, {"kind": "schedule.create", "id": "a", "cron": "* * * * *", "promiseId": "x", "promiseTags": TARGET}
    )

    assert state.finished_at("a") is None

    state.apply(30, {"kind": "schedule.delete", "id": "a"})

    assert state.finished_at("a") == 30


def test_a_lineage_that_is_adopted_counts_as_over_since_its_last_settlement() -> None:
    state, again = IndexedState(), IndexedState()
    created(state, "a")
    settled(state, "a", 20)
    image = LineageImage()
    image.apply(decode(state.snapshot("a")))
    again.adopt(image, 500)

    assert again.finished_at("a") == 20


def test_a_lineage_without_its_root_is_never_over() -> None:
    state = IndexedState()
    created(state, "a:1")
    settled(state, "a:1")

    assert list(state.finished_before(1000)) == []


def test_a_dropped_lineage_leaves_nothing_behind() -> None:
    state = IndexedState()

    for id_ in ("a", "a:1", "b"):
        created(state, id_, TARGET | {"resonate:branch": "a"})

    state.apply(11, {"kind": "task.acquire", "id": "a", "ttl": 50})
    state.apply(12, {"kind": "task.suspend", "id": "a", "actions": [{"awaited": "a:1"}]})
    settled(state, "a:1")
    settled(state, "a")
    state.take_changes()

    assert state.drop("a")
    assert list(state.promises) == list(state.tasks) == ["b"]
    assert state._branches == {"a": ["b"]}
    assert not state._awaiting
    assert state.lineages() == 1
    assert state.finished_at("a") is None
    assert [id_ for id_, _, _ in state._task_deadlines.items()] == ["b"]
    assert [id_ for id_, _, _ in state._promise_deadlines.items()] == ["b"]


def test_a_lineage_that_another_one_awaits_is_not_dropped() -> None:
    state = IndexedState()
    created(state, "a")
    created(state, "a:1")
    created(state, "b", TARGET)
    state.apply(11, {"kind": "task.acquire", "id": "b", "ttl": 50})
    state.apply(12, {"kind": "task.suspend", "id": "b", "actions": [{"awaited": "a:1"}]})
    settled(state, "a")

    assert not state.drop("a")

    settled(state, "a:1")

    assert state.tasks["b"].state == "pending"
    assert state.drop("a")


def test_a_tick_may_do_what_is_due_in_slices() -> None:
    state = IndexedState()

    for number in range(10):
        state.apply(10, {"kind": "promise.create", "id": f"w{number}", "timeoutAt": 50, "tags": TARGET})

    state.tick(60, limit=4)

    assert sum(promise.state == "pending" for promise in state.promises.values()) == 6
    assert state.next_due() == 50

    state.tick(60, limit=4)
    state.tick(60, limit=4)

    assert state.next_due() is None


def test_a_kept_lease_does_not_lapse_and_another_does() -> None:
    state = IndexedState()

    for id_ in ("a", "b"):
        created(state, id_, TARGET)
        state.apply(10, {"kind": "task.acquire", "id": id_, "ttl": 50})

    state.take_changes()
    state.tick(100, leases={"a": 0})
    changes = state.take_changes()

    assert state.tasks["a"].state == "acquired"
    assert state.tasks["b"].state == "pending"
    assert changes is not None
    assert [origin for origin, _ in changes.rows] == ["b"]


def test_a_lease_of_another_version_is_not_kept() -> None:
    state = IndexedState()
    created(state, "a", TARGET)
    state.apply(10, {"kind": "task.acquire", "id": "a", "ttl": 50})
    state.tick(100, leases={"a": 7})

    assert state.tasks["a"].state == "pending"


def test_reading_leasing_and_announcing_again_change_nothing_that_is_reported() -> None:
    state = IndexedState()
    created(state, "a", TARGET)
    created(state, "b", TARGET)
    state.take_changes()

    state.apply(20, {"kind": "promise.get", "id": "a"})
    state.apply(20, {"kind": "task.acquire", "id": "a", "pid": "p", "ttl": 60_000})
    state.apply(20, {"kind": "task.heartbeat", "pid": "p", "tasks": [{"id": "a"}]})
    created(state, "b")
    state.tick(30_010)

    assert [message.message["data"]["task"]["id"] for message in state.take_outgoing()] == ["b"]
    assert state.take_changes() is None


def test_the_text_of_repeated_tags_is_held_once() -> None:
    state = IndexedState()
    created(state, "a" * 50, {"resonate:origin": "a" * 50, "resonate:target": "local://any@" + "x" * 5})
    created(state, "b", {"resonate:parent": "".join(["a"] * 50), "resonate:target": "local://any@" + "x" * 5})
    first, second = state.promises["a" * 50], state.promises["b"]

    assert first.tags["resonate:origin"] is first.id
    assert second.tags["resonate:parent"] is first.id
    assert second.tags["resonate:target"] is first.tags["resonate:target"]


@pytest.mark.parametrize(("id_", "origin"), [("a", "a"), ("a.b", "a.b"), ("a:1", "a"), ("a:1.2:3", "a"), (":", "")])
def test_the_origin_is_everything_before_the_first_colon(id_: str, origin: str) -> None:
    assert origin_of(id_) == origin
