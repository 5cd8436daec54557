"""The notebook, run as a process of its own: what it reports."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.reporting import NOTEBOOK, TOKEN, Receiver, Run

#: They start programs.
pytestmark = pytest.mark.slow


def test_the_result_is_posted_as_json(receiver: Receiver, run: Run) -> None:
    assert run(rows=4).code == 0

    (report,) = receiver.received
    assert report.path == f"/base/callbacks/{TOKEN}"
    assert report.headers["content-type"] == "application/json"
    assert report.json == {"rows": 4, "sum": 14}


def test_parameters_are_taken_from_arguments_too(receiver: Receiver) -> None:
    arguments = [f"callback_url={receiver.url}", "rows=1"]

    subprocess.run([sys.executable, NOTEBOOK, *arguments], env={}, check=True, capture_output=True, timeout=60)

    assert receiver.received[0].json == {"rows": 1, "sum": 0}


def test_a_repetition_of_what_is_recorded_is_success(receiver: Receiver, run: Run) -> None:
    receiver.answer((200, {}, json.dumps({"state": "settled", "duplicate": True})))

    assert run().code == 0


def test_no_idempotency_key_is_sent_so_that_the_receiver_derives_it(receiver: Receiver, run: Run) -> None:
    run()

    assert "idempotency-key" not in receiver.received[0].headers


def test_an_exception_is_reported_with_where_it_was_raised_and_fails_the_run(receiver: Receiver, run: Run) -> None:
    ran = run(fail="the table is empty")

    (report,) = receiver.received
    assert ran.code != 0
    assert "RuntimeError: the table is empty" in ran.output
    assert report.path == f"/base/callbacks/{TOKEN}/failure"
    assert isinstance(report.json, dict)
    assert report.json["message"] == "RuntimeError: the table is empty"
    assert report.json["details"]["exception"] == "RuntimeError"
    assert "in work" in report.json["details"]["traceback"]


def test_a_failure_report_contains_no_variables_and_no_token(
    receiver: Receiver, run: Run, working: Callable[[str], Path]
) -> None:
    # The code is quoted, so it must not contain the value.
    source = working('password = "hun" + "ter2"\nraise RuntimeError("cannot reach " + parameter("callback_url"))')

    run(source, careless=True)

    (report,) = receiver.received
    assert b"cannot reach http://127.0.0.1" in report.body
    assert b"hunter2" not in report.body
    assert TOKEN.encode() not in report.body


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ('return "x" * 65_535', "65537 bytes"),
        ("return {1, 2}", "not JSON serializable"),
        ('return float("nan")', "not JSON compliant"),
        (r'return "\ud800"', "surrogates"),
        ("deep = []\nfor _ in range(100_000): deep = [deep]\nreturn deep", "nested too deeply"),
    ],
)
def test_a_result_that_cannot_be_sent_is_reported_as_a_failure(
    receiver: Receiver, run: Run, working: Callable[[str], Path], code: str, message: str
) -> None:
    assert run(working(code)).code != 0

    (report,) = receiver.received
    assert report.path.endswith("/failure")
    assert isinstance(report.json, dict)
    assert message in report.json["message"]


def test_the_largest_result_that_fits_is_sent(receiver: Receiver, run: Run, working: Callable[[str], Path]) -> None:
    assert run(working('return "x" * 65_534')).code == 0
    assert len(receiver.received[0].body) == 65_536


def test_the_failure_of_the_work_is_shown_even_when_reporting_it_fails(receiver: Receiver, run: Run) -> None:
    receiver.answer((410, {}, "{}"))

    ran = run(fail="the table is empty")

    assert ran.code != 0
    assert "RuntimeError: the table is empty" in ran.output
    assert "the failure could not be reported" in ran.output
