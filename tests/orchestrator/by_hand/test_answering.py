"""Which answers by hand are the same answer, as the idempotency key that is recorded with them says."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.by_hand.answering import HandAnswer


def ikey(**more: Any) -> str:
    return HandAnswer(**{"outcome": "succeeded", "reason": "because", "by": "ops"} | more).ikey


@pytest.mark.parametrize("key", [None, "k"])
def test_the_answer_of_another_operator_is_another_answer(key: str | None) -> None:
    assert ikey(key=key) == ikey(key=key)
    assert ikey(key=key) != ikey(key=key, by="root")


@pytest.mark.parametrize("other", [{"outcome": "failed"}, {"reason": "why not"}, {"body": "[1]"}])
def test_without_a_key_the_content_says_which_answer_it_is(other: dict[str, str]) -> None:
    assert ikey() != ikey(**other)
    assert ikey(key="k") == ikey(key="k", **other)


def test_spellings_of_the_same_json_are_the_same_answer() -> None:
    assert ikey() == ikey(body="null")
    assert ikey(body='{"a": 1, "b": 2}') == ikey(body='{"b":2,"a":1}')


def test_no_key_can_be_chosen_that_means_an_answer_without_one() -> None:
    assert ikey(key=ikey().rpartition(":")[2]) != ikey()
