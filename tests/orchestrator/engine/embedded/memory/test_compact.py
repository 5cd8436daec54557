"""Compact records: the empty set that they share stays empty."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from orchestrator.engine.embedded.memory.compact import NO_IDS, own

if TYPE_CHECKING:
    from collections.abc import Callable
from support.scenarios import created

from orchestrator.engine.embedded.memory.state import IndexedState


@pytest.mark.parametrize(
    "change",
    [
        lambda ids: ids.add("a"),
        lambda ids: ids.update({"a"}),
        lambda ids: ids.symmetric_difference_update({"a"}),
        lambda ids: ids.__ior__({"a"}),
        lambda ids: ids.__ixor__({"a"}),
        lambda ids: set.add(ids, "a"),
        lambda ids: set.update(ids, {"a"}),
        lambda ids: ids.pop(),
        lambda ids: setattr(ids, "name", "a"),
    ],
)
def test_nothing_can_be_added_to_the_shared_empty_set(change: Callable[[set[str]], object]) -> None:
    with pytest.raises((TypeError, AttributeError)):
        change(NO_IDS)

    assert set() == NO_IDS


def test_adding_with_an_operator_makes_another_set() -> None:
    ids = NO_IDS
    ids |= {"a"}

    assert (ids, NO_IDS) == ({"a"}, set())


def test_emptying_it_changes_nothing_and_it_is_written_as_an_empty_list() -> None:
    NO_IDS.clear()
    NO_IDS.discard("a")

    assert msgspec.json.encode(NO_IDS) == b"[]"
    assert own(NO_IDS) is not NO_IDS


def test_the_text_of_repeated_tags_is_held_once() -> None:
    state = IndexedState()
    created(state, "a" * 50, {"resonate:origin": "a" * 50, "resonate:target": "local://any@" + "x" * 5})
    created(state, "b", {"resonate:parent": "".join(["a"] * 50), "resonate:target": "local://any@" + "x" * 5})
    first, second = state.promises["a" * 50], state.promises["b"]

    assert first.tags["resonate:origin"] is first.id
    assert second.tags["resonate:parent"] is first.id
    assert second.tags["resonate:target"] is first.tags["resonate:target"]


def test_the_name_of_a_tag_is_held_once() -> None:
    state = IndexedState()
    created(state, "a", {str(10**50): "1"})
    created(state, "b", {str(10**50): "2"})
    (first,), (second,) = state.promises["a"].tags, state.promises["b"].tags

    assert first is second
