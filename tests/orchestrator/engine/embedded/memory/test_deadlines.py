"""Deadlines are returned when they are due, in the order in which they were first set, and leave nothing behind."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from support.scenarios import entries

from orchestrator.engine.embedded.memory.deadlines import SLACK, Deadlines

changes = st.lists(st.tuples(st.sampled_from("abcde"), st.none() | st.integers(0, 9)), max_size=40)


@given(changes, st.integers(0, 9))
def test_what_is_due_is_what_a_scan_finds_in_the_order_of_insertion(
    steps: list[tuple[str, int | None]], now: int
) -> None:
    deadlines, scanned = Deadlines(), dict[str, int]()

    for id_, at in steps:
        if at is None:
            assert deadlines.remove(id_) == (scanned.pop(id_, None) is not None)
        else:
            assert deadlines.set(id_, 7, at) == (id_ not in scanned)
            scanned[id_] = at

    assert deadlines.next() == min(scanned.values(), default=None)
    assert entries(deadlines) == [(id_, 7, at) for id_, at in scanned.items()]
    assert [(id_, at) for at, _, id_, _ in deadlines.due(now)] == [it for it in scanned.items() if it[1] <= now]


def test_due_returns_no_more_than_its_limit_the_earliest_first() -> None:
    deadlines = Deadlines()

    for id_, at in (("a", 3), ("b", 1), ("c", 2)):
        deadlines.set(id_, 0, at)

    assert [id_ for _, _, id_, _ in deadlines.due(9, limit=2)] == ["b", "c"]
    assert [id_ for _, _, id_, _ in deadlines.due(9, limit=2)] == ["a"]
    assert deadlines.due(9) == []


def test_a_deadline_that_was_moved_while_it_was_handled_is_not_forgotten() -> None:
    deadlines = Deadlines()
    deadlines.set("a", 0, 1)
    deadlines.set("b", 0, 1)
    due = deadlines.due(1)
    deadlines.set("a", 0, 5)
    deadlines.forget(due)

    assert entries(deadlines) == [("a", 0, 5)]
    assert deadlines.next() == 5


def test_deadlines_that_are_moved_all_the_time_take_no_more_memory() -> None:
    deadlines = Deadlines()

    for at in range(5 * SLACK):
        deadlines.set("a", 0, at)

    assert len(deadlines._heap) <= SLACK + 2
