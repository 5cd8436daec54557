"""What a notebook left: any value as JSON or text, or the report of our own notebook; hostile ones included."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.databricks.exit_values import LARGEST, Report, read_exit_value, read_last_line
from orchestrator.databricks.run import RunOutput


def left(exit_value: str | None, *, truncated: bool = False) -> Report:
    return read_exit_value(RunOutput(exit_value=exit_value, truncated=truncated, error=None))


def result(exit_value: str) -> object:
    report = left(exit_value)
    assert report.failure is report.note is None

    return json.loads(report.result)


@pytest.mark.parametrize("value", [None, True, 3, 2.5, "text", [1, [2]], {"rows": 3, "names": ["é"]}])
def test_json_is_read_as_json(value: object) -> None:
    assert result(json.dumps(value)) == value


@pytest.mark.parametrize(
    "text",
    [
        "3 rows",
        "NaN",
        "[1, Infinity]",
        '{"a": 1, "a": 2}',
        '{"a": 1',
        "[" * 100_000,
        "1" * 400,
        '"\\ud800"',
        "'single'",
        "\ufeff1",
    ],
)
def test_what_is_no_json_that_every_reader_reads_alike_is_text(text: str) -> None:
    assert result(text) == text


def test_half_a_character_is_spelt_out() -> None:
    assert result("\ud800") == r"\ud800"


@pytest.mark.parametrize("nothing", [None, ""])
def test_no_exit_value_is_null(nothing: str | None) -> None:
    assert left(nothing) == Report.nothing()
    assert not left(nothing).is_something


def test_a_part_of_an_output_is_not_taken_for_it() -> None:
    report = left('{"rows": 3}', truncated=True)

    assert (report.result, report.failure) == ("null", None)
    assert "5 MB" in (report.note or "")


def test_an_output_that_no_workflow_should_carry_is_noted() -> None:
    assert len(left("x" * (LARGEST - 2)).result) == LARGEST
    report = left("x" * (LARGEST - 1))

    assert report.result == "null"
    assert "store it instead" in (report.note or "")


def test_the_report_of_our_notebook_is_unwrapped() -> None:
    assert result('{"countersign": 1, "outcome": "succeeded", "result": {"rows": 3}}') == {"rows": 3}
    failure = left('{"countersign": 1, "outcome": "failed", "message": "no input", "details": [1]}').failure

    assert json.loads(failure or "") == {"message": "no input", "details": [1]}


@pytest.mark.parametrize(
    "other",
    [
        {"countersign": 2, "outcome": "succeeded", "result": 1},
        {"outcome": "succeeded", "result": 1},
        {"countersign": 1, "outcome": "died", "message": "x"},
        {"countersign": 1, "outcome": "failed", "message": 1},
        {"countersign": 1, "outcome": "succeeded"},
    ],
)
def test_what_only_resembles_a_report_is_a_result(other: dict[str, object]) -> None:
    assert result(json.dumps(other)) == other


def test_the_failure_in_the_last_line_of_an_error_is_found() -> None:
    report = {"countersign": 1, "outcome": "failed", "message": "no input", "details": {"exception": "KeyError"}}
    error = f"WorkFailed: no input\n{json.dumps(report)}\n"

    assert json.loads(read_last_line(error) or "") == {"message": "no input", "details": {"exception": "KeyError"}}


@pytest.mark.parametrize(
    "error", [None, "", "RuntimeError: no input", '{"countersign": 1, "outcome": "succeeded"}', "{"]
)
def test_an_error_without_a_report_has_none(error: str | None) -> None:
    assert read_last_line(error) is None


def test_details_that_are_too_large_are_left_out() -> None:
    report = {"countersign": 1, "outcome": "failed", "message": "no" * 10_000, "details": "x" * LARGEST}
    failure = json.loads(left(json.dumps(report)).failure or "")

    assert (len(failure["message"]), "details" in failure) == (10_000, False)


def test_a_message_that_is_too_long_is_cut_with_and_without_details() -> None:
    report = {"countersign": 1, "outcome": "failed", "message": "no" * 10_000, "details": [1]}
    failure = json.loads(left(json.dumps(report)).failure or "")

    assert (len(failure["message"]), failure["details"]) == (10_000, [1])


@given(st.text(max_size=200))
def test_any_text_gives_a_result_that_is_strict_json(text: str) -> None:
    report = left(text)

    assert report.failure is not None or json.loads(report.result) is not ...
