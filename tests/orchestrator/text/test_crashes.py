"""What is shown of an unexpected exception: never its text, and never more than a limit."""

from __future__ import annotations

import json
import sqlite3

import pytest
from pydantic import BaseModel

from orchestrator.callbacks.outcomes import Outcome
from orchestrator.errors import WorkflowExpired, WorkflowFailed
from orchestrator.text.crashes import describe_crash, describe_end, name_of_kind, place_in

SECRET = "eyJub3QiOiJmb3IgbG9ncyJ9"


class Price(BaseModel):
    """A model."""

    cents: int


def test_a_crash_is_described_with_its_causes_and_without_their_values() -> None:
    def fail() -> None:
        try:
            json.loads(SECRET)
        except ValueError as error:
            raise ExceptionGroup(SECRET, [KeyError(SECRET)]) from error

    with pytest.raises(ExceptionGroup) as caught:
        fail()

    text = describe_crash(caught.value)

    assert [part.split(" at ")[0] for part in text.split(" <- ")] == [
        "builtins.ExceptionGroup",
        "builtins.KeyError",
        "json.decoder.JSONDecodeError",
    ]
    assert SECRET not in text


def test_an_end_has_the_line_of_the_author_also_if_a_function_of_ours_raised_it() -> None:
    def gives_up() -> None:
        raise WorkflowFailed("sold out")

    def needs_the_answer() -> None:
        Outcome(kind="expired", callback="bank", by="deadline").result()

    with pytest.raises(WorkflowFailed) as failed:
        gives_up()

    with pytest.raises(WorkflowExpired) as expired:
        needs_the_answer()

    assert describe_end(failed.value).startswith("WorkflowFailed: sold out at test_crashes.py:")
    assert describe_end(expired.value).startswith("WorkflowExpired at test_crashes.py:")
    assert describe_end(expired.value).endswith(" in needs_the_answer")


def test_a_crash_that_is_its_own_cause_is_described_once() -> None:
    one, other = ValueError(), KeyError()
    one.__context__, other.__context__ = other, one

    assert describe_crash(one).count("ValueError") == 1


def test_a_suppressed_context_is_not_described() -> None:
    error = ValueError()
    error.__context__ = KeyError()
    error.__suppress_context__ = True

    assert "KeyError" not in describe_crash(error)


def test_notes_and_the_input_of_a_model_are_not_shown() -> None:
    with pytest.raises(ValueError, match="cents") as caught:
        Price.model_validate({"cents": SECRET})

    caught.value.add_note(SECRET)

    assert SECRET not in describe_crash(caught.value)
    assert "pydantic_core._pydantic_core.ValidationError at " in describe_crash(caught.value)


def test_the_code_of_a_library_is_shown() -> None:
    with pytest.raises(sqlite3.OperationalError) as caught:
        sqlite3.connect("/nowhere/at/all")

    assert name_of_kind(caught.value) == "sqlite3.OperationalError SQLITE_CANTOPEN"
    assert name_of_kind(OSError(28, SECRET)) == "builtins.OSError ENOSPC"
    assert name_of_kind(SystemExit(SECRET)) == "builtins.SystemExit"


def test_an_attribute_named_like_a_code_that_holds_something_else_is_not_shown() -> None:
    for text in (SECRET, [SECRET], 10**5000, None):
        assert name_of_kind(OSError(text, SECRET)) == "builtins.OSError"
        assert name_of_kind(SystemExit(text)) == "builtins.SystemExit"

    error = ValueError()
    error.sqlstate = "0" * 5000  # type: ignore[attr-defined]
    assert len(name_of_kind(error)) < 100


def test_a_description_has_an_end() -> None:
    def deep(levels: int) -> None:
        if levels == 0:
            raise ExceptionGroup(SECRET, [ValueError(SECRET)] * 5_000)

        deep(levels - 1)

    with pytest.raises(ExceptionGroup) as caught:
        deep(500)

    error: BaseException = caught.value
    for _ in range(500):
        error, cause = ValueError(SECRET), error
        error.__cause__ = cause

    assert len(describe_crash(error)) < 5_000
    assert "more" in describe_crash(error)
    assert len(describe_crash(caught.value)) < 5_000


def test_the_place_is_the_innermost_line_of_the_file() -> None:
    def fail() -> None:
        json.loads("{")

    with pytest.raises(ValueError, match="property") as caught:
        fail()

    first = fail.__code__.co_firstlineno
    assert place_in(caught.value, __file__) == f" at test_crashes.py:{first + 1} in fail"
    assert place_in(caught.value, "elsewhere.py") == ""
