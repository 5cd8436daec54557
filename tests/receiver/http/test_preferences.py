"""What a client prefers; headers that cannot be parsed are ignored."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.http.preferences import prefers_page, wait_seconds


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ([], 0),
        (["wait=7"], 7),
        (['wait="7"'], 7),
        (["Wait = 7; x=y"], 7),
        (["respond-async, wait=7"], 7),
        (["respond-async", "wait=7"], 7),
        (["wait=7, wait=9"], 7),
        (["wait=31"], 30),
        (["wait=999999"], 30),
        (["wait=1000000"], 0),
        (["wait=0"], 0),
        (["wait=-1"], 0),
        (["wait=1.5"], 0),
        (["wait=\u0667"], 0),
        (['wait="7'], 0),
        (["await=7"], 0),
    ],
)
def test_a_wait_is_asked_for_in_whole_seconds_and_at_most_thirty(prefer: list[str], seconds: int) -> None:
    assert wait_seconds(prefer) == seconds


@pytest.mark.parametrize(
    ("accept", "page"),
    [
        ([], False),
        (["*/*"], False),
        (["text/*"], False),
        (["text/html"], True),
        (["TEXT/HTML"], True),
        (["text/html;q=0"], False),
        (["text/html, application/json"], True),
        (["application/json, text/html"], False),
        (["application/json", "text/html"], False),
        (["application/json;q=0.5, text/html"], True),
        (["application/json;q=0.1, text/html;q=0.2"], True),
        (["text/html;q=0.2, application/json;q=0.2"], True),
        (["text/html;level=1;q=0.1, application/json;q=0.2"], False),
        (["text/html;q=2"], True),
    ],
)
def test_a_page_is_preferred_if_it_is_named_and_ranked_above_json(accept: list[str], page: bool) -> None:  # noqa: FBT001 - a table
    assert prefers_page(accept) is page


@given(st.lists(st.text()))
def test_no_header_is_refused(values: list[str]) -> None:
    assert 0 <= wait_seconds(values) <= 30
    assert prefers_page(values) in {True, False}
