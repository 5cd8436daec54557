"""The indexed state machine: equal to the SDK's in all it says, complete in what it reports, and able to forget."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from resonate.connections.local import DurablePromise, ServerState, Task
from resonate.error import ServerError

from orchestrator.engine.images import LineageImage, decode
from orchestrator.engine.state import IndexedState, origin_of

IDS = ("a", "b", "a:1", "a:2", "a:1.1", "b:1", "c:1")
FOREVER = (1 << 63) - 1

ids = st.sampled_from(IDS)
times = st.sampled_from((0, 40, 90, 300, 70_000, FOREVER))
branches = st.sampled_from(("a", "a:1", "b"))
tags = st.fixed_dictionaries(
    {},
    optional={
        "resonate:target": st.just("local://any@default"),
        "resonate:timer": st.just("true"),
        "resonate:branch": branches,
        "resonate:delay": st.sampled_from(("30", "100", "soon")),
        "countersign:transient": st.just("true"),
    },
)
values = st.sampled_from((None, {"headers": {}, "data": "aGk="}, {"data": ""}))
creation = st.fixed_dictionaries(
    {"id": ids, "timeoutAt": times, "param": values, "tags": tags}, optional={"unknown": st.none()}
)
settlement = st.fixed_dictionaries(
    {"id": ids, "state": st.sampled_from(("resolved", "rejected", "rejected_canceled")), "value": values}
)


def of_kind(kind: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"kind": st.just(kind), "corrId": st.just("c"), **fields})


def action(kind: str, data: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"kind": st.just(kind), "head": st.just({}), "data": data})


versions = st.integers(0, 3)
awaits = st.lists(
    action("promise.register_callback", st.fixed_dictionaries({"awaited": ids, "awaiter": ids})), max_size=3
)
requests = st.one_of(
    creation.map(lambda data: {"kind": "promise.create", "corrId": "c", **data}),
    creation.map(lambda data: {"kind": "promise.create", "corrId": "c", **data}),
    settlement.map(lambda data: {"kind": "promise.settle", "corrId": "c", **data}),
    of_kind("promise.get", id=ids),
    of_kind("promise.register_listener", awaited=ids, address=st.sampled_from(("one", "two"))),
    of_kind("task.create", pid=st.just("p"), ttl=st.just(50), action=action("promise.create", creation)),
    of_kind("task.acquire", id=ids, version=versions, pid=st.just("p"), ttl=st.sampled_from((0, 50, 60_000))),
    of_kind("task.acquire", id=ids, version=versions, pid=st.just("p"), ttl=st.just(60_000)),
    of_kind("task.release", id=ids, version=versions),
    of_kind("task.fulfill", id=ids, version=versions, action=action("promise.settle", settlement)),
    of_kind("task.fence", id=ids, version=versions, action=action("promise.create", creation)),
    of_kind("task.fence", id=ids, version=versions, action=action("promise.settle", settlement)),
    of_kind("task.fence", id=ids, version=versions, action=action("promise.forget", settlement)),
    of_kind("task.suspend", id=ids, version=versions, actions=awaits),
    of_kind("task.suspend", id=ids, version=versions, actions=awaits),
    of_kind("task.heartbeat", pid=st.just("p"), tasks=st.lists(st.fixed_dictionaries({"id": ids, "version": versions}))),
    of_kind("schedule.create", id=ids, cron=st.just("* * * * *"), promiseId=st.just("x"), promiseTags=tags),
    of_kind("schedule.delete", id=ids),
    of_kind("schedule.search"),
    of_kind("promise.create", id=st.just("")),
    of_kind("promise.search"),
)
#: A step: how long after the one before, and a request, or None for a tick.
steps = st.lists(st.tuples(st.sampled_from((0, 0, 5, 60, 40_000)), st.none() | requests), max_size=40)


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
    return Counter(msgspec.json.encode((message.address, message.message), order="sorted") for message in state.outgoing)


def promises(state: ServerState) -> dict[str, Any]:
    return {id_: plain(msgspec.structs.asdict(promise)) | sets(promise) for id_, promise in state.promises.items()}


def sets(promise: DurablePromise) -> dict[str, Any]:
    return {"awaiters": sorted(promise.awaiters), "subscribers": sorted(promise.subscribers)}


def tasks(state: ServerState) -> dict[str, Any]:
    return {id_: described(task) for id_, task in state.tasks.items()}


def described(task: Task) -> dict[str, Any]:
    return msgspec.structs.asdict(task) | {"resumes": sorted(task.resumes)}


WAIT = {"resonate:target": "local://any@default", "resonate:branch": "a"}


@settings(max_examples=400, deadline=None)
@given(steps)
@example(
    [
        (0, {"kind": "promise.create", "id": "a", "timeoutAt": FOREVER, "tags": WAIT}),
        (0, {"kind": "promise.create", "id": "a:1", "timeoutAt": 300, "tags": WAIT}),
        (0, {"kind": "task.acquire", "id": "a", "ttl": 60_000}),
        (0, {"kind": "task.suspend", "id": "a", "actions": [{"awaited": "a:1"}]}),
        (40_000, None),
        (40_000, None),
    ]
)
def test_it_answers_and_says_what_the_sdks_own_machine_does(steps: list[tuple[int, dict[str, Any] | None]]) -> None:
    theirs, ours, now = ServerState(), IndexedState(), 10

    for later, request in steps:
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


@settings(max_examples=400, deadline=None)
@given(steps, st.sets(st.integers(0, 40)))
def test_what_it_reports_as_changed_is_enough_to_make_it_again(
    steps: list[tuple[int, dict[str, Any] | None]], snapshots_after: set[int]
) -> None:
    state, now = IndexedState(), 10
    stored: dict[str, LineageImage] = {}

    for number, (later, request) in enumerate(steps):
        now += later
        step(state, now, request)
        state.take_outgoing()
        changes = state.take_changes()

        for origin, images in changes.rows if changes is not None else []:
            stored.setdefault(origin, LineageImage()).apply(decode(images))

        if number in snapshots_after:
            for origin in stored:
                stored[origin] = LineageImage()
                stored[origin].apply(decode(state.snapshot(origin)))

    again = IndexedState()

    for image in stored.values():
        again.adopt(image, now)

    assert promises(again) == promises(state)
    assert again.schedules == state.schedules
    assert {id_: at for id_, _, at in again._promise_deadlines.items()} == {
        id_: at for id_, _, at in state._promise_deadlines.items()
    }
    assert set(again.tasks) == set(state.tasks)

    for task in state.tasks.values():
        if task.state == "acquired":  # a lease is not reported: it dies with the process
            assert again.tasks[task.id].state in {"pending", "acquired", "suspended"}
            assert again.tasks[task.id].version == task.version
        else:
            assert described(again.tasks[task.id]) == described(task)


def created(state: IndexedState, id_: str, now: int = 10, **tags: str) -> None:
    state.apply(now, {"kind": "promise.create", "id": id_, "timeoutAt": FOREVER, "tags": tags})


def settled(state: IndexedState, id_: str, now: int = 20) -> None:
    state.apply(now, {"kind": "promise.settle", "id": id_, "state": "resolved", "value": None})


TARGET = {"resonate:target": "local://any@default"}


def test_a_lineage_is_over_when_its_root_is_settled_and_no_task_of_it_can_run() -> None:
    state = IndexedState()
    created(state, "a", **TARGET)
    created(state, "a:1", **TARGET)
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
    created(state, "a:1", **TARGET)

    assert state.finished_at("a") is None


def test_transient_lineages_are_told_apart() -> None:
    state = IndexedState()
    created(state, "a", **{"countersign:transient": "true"})
    created(state, "b")
    settled(state, "a")
    settled(state, "b")

    assert list(state.finished_before(1000, transient=True)) == ["a"]
    assert list(state.finished_before(1000)) == ["b"]


def test_a_lineage_without_its_root_is_never_over() -> None:
    state = IndexedState()
    created(state, "a:1")
    settled(state, "a:1")

    assert list(state.finished_before(1000)) == []


def test_a_dropped_lineage_leaves_nothing_behind() -> None:
    state = IndexedState()

    for id_ in ("a", "a:1", "b"):
        created(state, id_, **TARGET, **{"resonate:branch": "a"})

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
    created(state, "b", **TARGET)
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
        created(state, id_, **TARGET)
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
    created(state, "a", **TARGET)
    state.apply(10, {"kind": "task.acquire", "id": "a", "ttl": 50})
    state.tick(100, leases={"a": 7})

    assert state.tasks["a"].state == "pending"


def test_reading_leasing_and_announcing_again_change_nothing_that_is_reported() -> None:
    state = IndexedState()
    created(state, "a", **TARGET)
    created(state, "b", **TARGET)
    state.take_changes()

    state.apply(20, {"kind": "promise.get", "id": "a"})
    state.apply(20, {"kind": "task.acquire", "id": "a", "pid": "p", "ttl": 50})
    state.apply(20, {"kind": "task.heartbeat", "pid": "p", "tasks": [{"id": "a"}]})
    created(state, "b")
    state.take_outgoing()
    state.tick(30_010)

    assert [message.message["data"]["task"]["id"] for message in state.take_outgoing()] == ["a", "b"][1:]

    changes = state.take_changes()

    assert changes is not None
    assert [origin for origin, _ in changes.rows] == ["a"]  # its lease has lapsed, which is a change


def test_the_text_of_repeated_tags_is_held_once() -> None:
    state = IndexedState()
    created(state, "a" * 50, **{"resonate:origin": "a" * 50, "resonate:target": "local://any@" + "x" * 5})
    created(state, "b", **{"resonate:parent": "".join(["a"] * 50), "resonate:target": "local://any@" + "x" * 5})
    first, second = state.promises["a" * 50], state.promises["b"]

    assert first.tags["resonate:origin"] is first.id
    assert second.tags["resonate:parent"] is first.id
    assert second.tags["resonate:target"] is first.tags["resonate:target"]


@pytest.mark.parametrize(("id_", "origin"), [("a", "a"), ("a.b", "a.b"), ("a:1", "a"), ("a:1.2:3", "a"), (":", "")])
def test_the_origin_is_everything_before_the_first_colon(id_: str, origin: str) -> None:
    assert origin_of(id_) == origin
