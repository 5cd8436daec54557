"""The state reports every change, and nothing that has not changed."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from resonate.connections.local import ServerState
from support.scenarios import (
    TARGET,
    Scenario,
    created,
    described,
    entries,
    external_scenarios,
    lengths,
    promises,
    scenarios,
    step,
)

from orchestrator.engine.embedded.disk.images import LineageImage, decode, packed
from orchestrator.engine.embedded.memory.state import IndexedState


def texts(state: ServerState) -> dict[str, tuple[object, ...]]:
    """Return each promise as it is written; several times cheaper than the comparison of two machines."""
    return {
        id_: (
            *(promise.state, promise.timeout_at, promise.created_at, promise.settled_at, promise.tags),
            *(frozenset(promise.awaiters), frozenset(promise.subscribers)),
            *(None if value is None else bytes(value) for value in (packed(promise.param), packed(promise.value))),
        )
        for id_, promise in state.promises.items()
    }


def same(stored: dict[str, LineageImage], state: IndexedState) -> None:
    """Assert that the stored records equal those of the state, except for leases, which end with the process."""
    merged = ServerState()
    for image in stored.values():
        merged.promises.update(image.promises)
        merged.tasks.update(image.tasks)
        merged.schedules.update(image.schedules)

    assert texts(merged) == texts(state)
    assert merged.schedules == state.schedules
    assert set(merged.tasks) == set(state.tasks)

    for task in state.tasks.values():
        if task.state == "acquired":
            assert merged.tasks[task.id].state in {"pending", "acquired"}
            assert merged.tasks[task.id].version == task.version
        else:
            assert described(merged.tasks[task.id]) == described(task)


@settings(max_examples=300, deadline=None)
@given(st.one_of(scenarios, external_scenarios), lengths, st.sets(st.integers(0, 250)))
def test_the_reported_changes_are_enough_to_rebuild_the_state(
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

    assert {id_: at for id_, _, at in entries(again._promise_deadlines)} == {
        id_: at for id_, _, at in entries(state._promise_deadlines)
    }
    assert again._awaiting == {id_: awaited for id_, awaited in state._awaiting.items() if awaited}
    assert set(again._lineages._finished[0]) == set(state._lineages._finished[0])
    assert set(again._lineages._finished[1]) == set(state._lineages._finished[1])
    assert promises(again) == promises(state)


def test_reading_leasing_and_announcing_again_report_no_change() -> None:
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
