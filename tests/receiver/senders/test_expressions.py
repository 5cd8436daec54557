"""JMESPath expressions: faults are found when they are compiled, and no data makes them crash."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.senders.expressions import Expression, Misfit

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4) | st.just("a"), inner, max_size=4),
    max_leaves=12,
)
WRITTEN = [
    *("a", "a.b.c", "a[0]", "a[?b].c", "a || b", "{x: a, y: @}", "[a, b]", "@", "length(a)", "join(',', a)", "max(a)"),
    *("sort_by(a, &b)", "to_string(@)", "merge(a, b)", "avg(a)", "map(&a, b)", "keys(@)", "a[::2]", "not_null(a, b)"),
    *("sum(a)", "max_by(a, &b)", "abs(a)", "contains(a, b)", "a[?b > `1`]", "reverse(a)", "to_number(a)", "values(@)"),
]


@pytest.mark.parametrize(
    "text",
    ["", " ", "a[", "a b", "a.", "'", "nope(a)", "a || nope(b)", "length()", "length(a, b)", "not_null()", "((" * 9999],
)
def test_what_does_not_compile_is_refused_when_it_is_written(text: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - any reason will do
        Expression(text)

    assert "\n" not in str(refused.value)


def test_nothing_found_is_none() -> None:
    assert Expression("a.b").find({"a": 1}) is None


@pytest.mark.parametrize("text", ["length(a)", "sum(a)", "join(',', a)", "keys(a)"])
def test_a_function_over_what_it_cannot_take_is_a_misfit_that_quotes_nothing(text: str) -> None:
    with pytest.raises(Misfit) as misfit:
        Expression(text).find({"a": 12345})

    assert "12345" not in str(misfit.value)
    assert misfit.value.__cause__ is None


@given(st.sampled_from([Expression(text) for text in WRITTEN]), JSON)
def test_any_value_is_searched_or_a_misfit_and_what_is_found_is_json(expression: Expression, value: object) -> None:
    try:
        found = expression.find(value)
    except Misfit:
        return

    json.dumps(found)
