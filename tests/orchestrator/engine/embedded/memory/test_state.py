"""The state adopts and drops whole lineages, and handles due deadlines in slices."""

from __future__ import annotations

from support.scenarios import EXTERNAL, TARGET, created, entries, settled

from orchestrator.engine.embedded.memory.state import IndexedState
from orchestrator.stored_names import PARENT_TAG


def test_a_dropped_lineage_leaves_nothing_behind() -> None:
    state = IndexedState()

    for id_ in ("a", "a:1", "b"):
        created(state, id_, TARGET | {"resonate:branch": "a"})

    created(state, "a:2", EXTERNAL | {"resonate:branch": "a"})
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
    assert [id_ for id_, _, _ in entries(state._task_deadlines)] == ["b"]
    assert [id_ for id_, _, _ in entries(state._promise_deadlines)] == ["b"]


def test_a_promise_that_only_a_worker_settles_has_no_deadline_to_look_after() -> None:
    state = IndexedState()

    for number in range(3):
        state.apply(10, {"kind": "promise.create", "id": f"a:{number}", "timeoutAt": 50, "tags": {}})

    assert state.next_due() is None
    assert entries(state._promise_deadlines) == []


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


def test_a_sub_workflow_is_kept_until_its_parent_has_read_how_it_ended_and_not_longer() -> None:
    state = IndexedState()
    created(state, "parent", TARGET)
    created(state, "parent:1")
    created(state, "child", TARGET | {PARENT_TAG: "parent:1"})
    state.apply(11, {"kind": "task.acquire", "id": "parent", "ttl": 50})
    state.apply(12, {"kind": "task.suspend", "id": "parent", "actions": [{"awaited": "child"}]})
    settled(state, "child")

    assert state.tasks["parent"].state == "pending"
    assert not state.drop("child")
    state.apply(13, {"kind": "task.acquire", "id": "parent", "ttl": 50})
    assert not state.drop("child")

    created(state, "parent:2", TARGET)
    state.apply(14, {"kind": "task.suspend", "id": "parent", "actions": [{"awaited": "parent:2"}]})
    assert state.drop("child")


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


def test_the_earliest_deadline_that_was_set_is_told_once() -> None:
    state = IndexedState()
    state.apply(10, {"kind": "promise.create", "id": "a", "timeoutAt": 70, "tags": {"resonate:external": "true"}})
    state.apply(10, {"kind": "promise.create", "id": "b", "timeoutAt": 50, "tags": {"resonate:external": "true"}})

    assert state.take_earliest_set() == 50
    assert state.take_earliest_set() is None

    state.apply(10, {"kind": "promise.create", "id": "c", "timeoutAt": 90, "tags": TARGET})
    state.apply(10, {"kind": "task.acquire", "id": "c", "ttl": 5})

    assert state.take_earliest_set() == 15

    state.apply(10, {"kind": "promise.create", "id": "d", "timeoutAt": 90, "tags": {"resonate:external": "true"}})

    assert state.take_earliest_set() == 90
    assert state.next_due() == 15
