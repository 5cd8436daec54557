"""What the API says about an error names the author's line, once, and quotes nothing but our own errors."""

from __future__ import annotations

import pytest

from orchestrator.errors import Misused, NotJson, StepFailed, StepRefused
from orchestrator.runs.told_errors import told


async def body() -> None: ...


def raised(error: BaseException) -> str:
    try:
        raise error  # noqa: TRY301 - for its traceback
    except BaseException as seen:  # noqa: BLE001 - of all kinds
        return told(seen, body)


@pytest.mark.parametrize("error", [Misused("no step"), NotJson("no step")])
def test_our_own_words_come_with_the_line(error: Exception) -> None:
    assert raised(error).startswith("no step at test_told_errors.py:")


def test_a_line_that_is_named_already_is_not_followed_by_another() -> None:
    assert raised(Misused("no step at shop.py:12 in fulfil")) == "no step at shop.py:12 in fulfil"


def test_what_may_quote_a_body_is_told_by_its_type_and_line() -> None:
    assert raised(ValueError("4711")).startswith("the workflow's code raised ValueError at test_told_errors.py:")
    assert raised(StepFailed("4711", kind="KeyError", where="charge at shop.py:3")) == (
        "a step raised KeyError: charge at shop.py:3"
    )


def test_of_a_group_our_own_errors_are_told() -> None:
    text = raised(ExceptionGroup("4711", [ValueError("4711"), ExceptionGroup("", [StepRefused("sold out")])]))

    assert text.endswith("in raised: StepRefused: sold out")
    assert "4711" not in text
