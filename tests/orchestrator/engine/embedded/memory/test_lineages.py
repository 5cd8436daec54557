"""A lineage is over when nothing in it can run any more, and not before."""

from __future__ import annotations

import pytest
from support.scenarios import EXTERNAL, TARGET, created, settled

from orchestrator.engine.embedded.disk.images import LineageImage, decode
from orchestrator.engine.embedded.memory.lineages import origin_of
from orchestrator.engine.embedded.memory.state import IndexedState


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


def test_a_wait_without_a_task_does_not_keep_its_lineage() -> None:
    state = IndexedState()
    created(state, "a", TARGET)
    created(state, "a:1", EXTERNAL)
    created(state, "a:2", EXTERNAL)
    settled(state, "a:1", 20)

    assert state.finished_at("a") is None

    settled(state, "a", 30)

    assert state.finished_at("a") == 30

    settled(state, "a:2", 40)

    assert list(state.finished_before(31)) == ["a"]


def test_a_lineage_that_gets_new_work_is_no_longer_over() -> None:
    state = IndexedState()
    created(state, "a")
    settled(state, "a")
    created(state, "a:1", TARGET)

    assert state.finished_at("a") is None


def test_transient_lineages_are_listed_separately() -> None:
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


@pytest.mark.parametrize(("id_", "origin"), [("a", "a"), ("a.b", "a.b"), ("a:1", "a"), ("a:1.2:3", "a"), (":", "")])
def test_the_origin_is_everything_before_the_first_colon(id_: str, origin: str) -> None:
    assert origin_of(id_) == origin
