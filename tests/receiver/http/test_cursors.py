"""Cursors come back as the position they were made of, and only in the list they were made for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine.search import Position
from receiver.http.cursors import cursor_of, position_of

SCOPE = ("workflows", "ask", None)
PLACE = Position(1_795_698_133_308, "ask.a;b@c")


@given(st.integers(-(10**15), 10**15), st.text("abc.;:@+-_0", min_size=1, max_size=200))
def test_a_cursor_is_the_position_that_it_was_made_of(at: int, promise_id: str) -> None:
    assert position_of(cursor_of(Position(at, promise_id), SCOPE), SCOPE) == (at, promise_id)


@pytest.mark.parametrize("scope", [("waits", "ask", None), ("workflows", None, "ask"), ("workflows", "ask"), ()])
def test_a_cursor_of_another_list_or_other_filters_is_refused(scope: tuple[str | None, ...]) -> None:
    with pytest.raises(ValueError, match="another list"):
        position_of(cursor_of(PLACE, SCOPE), scope)


def test_no_cursor_with_one_other_character_is_accepted() -> None:
    cursor = cursor_of(PLACE, SCOPE)

    for place in range(len(cursor)):
        for other in "A_x9=":
            changed = cursor[:place] + other + cursor[place + 1 :]

            if changed != cursor:
                with pytest.raises(ValueError, match="cursor"):
                    position_of(changed, SCOPE)


@given(st.text(max_size=60))
def test_whatever_else_is_sent_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="cursor"):
        position_of(text, SCOPE)


def test_a_very_long_cursor_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        position_of("A" * 1_000_000, SCOPE)
