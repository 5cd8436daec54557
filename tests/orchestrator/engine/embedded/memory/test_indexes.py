"""The indexed state machine sends the same replies and messages as the SDK's own."""

from __future__ import annotations

from hypothesis import given, settings
from resonate.connections.local import ServerState
from support.scenarios import (
    TARGET,
    Ending,
    Scenario,
    created,
    entries,
    external_scenarios,
    lengths,
    promises,
    said,
    scenarios,
    step,
    tasks,
)

from orchestrator.engine.embedded.memory.state import IndexedState


@settings(max_examples=300, deadline=None)
@given(scenarios, lengths)
def test_its_replies_and_messages_are_those_of_the_sdks_own_machine(scenario: Scenario, length: int) -> None:
    same_course(scenario, length, ServerState())


@settings(max_examples=300, deadline=None)
@given(external_scenarios, lengths)
def test_it_differs_from_that_machine_in_one_rule_alone(scenario: Scenario, length: int) -> None:
    same_course(scenario, length, Ending())


def same_course(scenario: Scenario, length: int, theirs: ServerState) -> None:
    """Assert that our machine takes the same course as this one."""
    ours, now = IndexedState(), 10

    for _ in range(length):
        later, request = scenario.next(theirs)
        now += later

        answered, expected = step(ours, now, request), step(theirs, now, request)

        if request is not None and request["kind"] == "task.fence" and isinstance(expected, dict):
            # The only shorter reply: the worker already knows the other promises of the branch.
            expected |= {"preload": []} if "preload" in expected else {}

        assert answered == expected
        assert said(ours) == said(theirs)

        ours.take_outgoing()

    assert promises(ours) == promises(theirs)
    assert tasks(ours) == tasks(theirs)
    assert list(ours.promises) == list(theirs.promises)
    assert {id_: at for id_, _, at in entries(ours._promise_deadlines)} == {
        entry.id: entry.timeout for entry in theirs.p_timeouts
    }
    assert {id_: (kind, at) for id_, kind, at in entries(ours._task_deadlines)} == {
        entry.id: (entry.typ, entry.timeout) for entry in theirs.t_timeouts
    }


def test_a_fenced_request_costs_the_same_however_many_promises_the_branch_has() -> None:
    state = IndexedState()
    tags = {"resonate:branch": "a"}
    created(state, "a", TARGET | tags)
    lease = {"kind": "task.acquire", "id": "a", "ttl": 50}
    version = state.apply(11, lease)["task"]["version"]

    for number in range(3):
        create = {"id": f"a.{number}", "timeoutAt": 90, "tags": tags}
        fenced = {
            "kind": "task.fence",
            "id": "a",
            "version": version,
            "action": {"kind": "promise.create", "data": create},
        }
        reply = state.apply(12, fenced)

        assert reply["action"]["data"]["promise"]["id"] == f"a.{number}"
        assert reply["preload"] == []

    state.apply(13, {"kind": "task.release", "id": "a", "version": version})
    known = state.apply(14, lease)["preload"]
    assert [record["id"] for record in known] == ["a.0", "a.1", "a.2"]
