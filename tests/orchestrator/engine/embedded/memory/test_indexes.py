"""The indexed state machine says and answers what the SDK's own does."""

from __future__ import annotations

from hypothesis import given, settings
from resonate.connections.local import ServerState
from support.scenarios import Scenario, entries, lengths, promises, said, scenarios, step, tasks

from orchestrator.engine.embedded.memory.state import IndexedState


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
    assert {id_: at for id_, _, at in entries(ours._promise_deadlines)} == {
        entry.id: entry.timeout for entry in theirs.p_timeouts
    }
    assert {id_: (kind, at) for id_, kind, at in entries(ours._task_deadlines)} == {
        entry.id: (entry.typ, entry.timeout) for entry in theirs.t_timeouts
    }
