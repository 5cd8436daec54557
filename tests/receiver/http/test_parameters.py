"""Parameters are read strictly, and the refusal of one names it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from starlette.requests import Request

from receiver.http.parameters import Parameters
from receiver.http.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = ("limit", "state", "since", "name", "person")


def given(query: str) -> Parameters:
    return Parameters(Request({"type": "http", "method": "GET", "headers": [], "query_string": query.encode()}), NAMES)


def read(parameters: Parameters) -> tuple[Any, ...]:
    return (
        parameters.number("limit", usual=50, most=200),
        parameters.one_of("state", ("on", "off")),
        parameters.moment("since"),
        parameters.word("name", str.islower, "in small letters"),
        parameters.text("person", longest=5),
    )


def test_what_is_not_given_has_its_usual_value() -> None:
    assert read(given("")) == (50, None, None, None, None)


def test_what_is_given_is_read() -> None:
    query = "limit=200&state=off&since=2026-11-21T08:00:00.5%2B01:00&name=a&person=ada"

    assert read(given(query)) == (200, "off", 1_795_244_400_500_000, "a", "ada")


@pytest.mark.parametrize(
    ("query", "name"),
    [
        *((f"limit={value}", "limit") for value in ("", "0", "201", "-1", "1.0", "%2B1", "1e1", "٣", "9" * 40)),
        *((f"state={value}", "state") for value in ("", "On", "on,off", "on%00")),
        *((f"since={value}", "since") for value in ("", "2026-11-21", "2026-02-30T00:00:00Z", "1763712000", "now")),
        ("since=2026-11-21T08:00:00", "since"),
        ("since=2026-11-21T08:00:00+01:00", "since"),
        ("name=A", "name"),
        ("person=", "person"),
        ("person=abcdef", "person"),
        ("limit=1&limit=1", "limit"),
        ("sate=on", "sate"),
        ("Limit=1", "Limit"),
    ],
)
def test_anything_else_is_refused_by_name(query: str, name: str) -> None:
    with pytest.raises(Problem) as caught:
        read(given(query))

    problem = caught.value
    assert (problem.name, problem.members["parameter"]) == ("invalid-parameter", name)


def test_a_strange_name_is_not_repeated() -> None:
    with pytest.raises(Problem) as caught:
        given("eyJhbGciOiJub25lIn0.a-token=1")

    assert caught.value.members == {"parameter": "?"}
    assert "token" not in str(caught.value.detail)


@pytest.mark.parametrize("reading", [lambda it: it.text("person", longest=5), lambda it: it.moment("since")])
def test_a_refusal_does_not_repeat_the_value(reading: Callable[[Parameters], object]) -> None:
    with pytest.raises(Problem) as caught:
        reading(given("person=a-secret&since=a-secret"))

    assert "a-secret" not in str(vars(caught.value))
