"""What is kept about a person's decision, in the form that every release reads."""

from __future__ import annotations

import pytest

from orchestrator.approvals.decision import Decision
from orchestrator.callbacks.outcomes import Outcome

#: The form in which all releases have stored a decision.
STORED = '{"comment": "ca\\u00e7a\\nb", "digest": "ab12", "client": "192.0.2.1", "at": "2026-11-21T08:00:00.000Z"}'

DECISION = Decision(comment="caça\nb", digest="ab12", client="192.0.2.1", at="2026-11-21T08:00:00.000Z")


def outcome(body: str | None) -> Outcome:
    return Outcome(kind="approve", callback="question", by="approver", body=body, subject="ada@example.org")


def test_the_stored_form_never_changes() -> None:
    assert DECISION.stored() == STORED


def test_what_was_stored_is_read() -> None:
    assert Decision.read(outcome(STORED)) == DECISION


def test_a_decision_from_an_unknown_address_is_read() -> None:
    decision = Decision(comment="", digest="ab12", client=None, at="2026-11-21T08:00:00.000Z")

    assert Decision.read(outcome(decision.stored())) == decision


def test_what_a_later_release_adds_is_passed_over() -> None:
    assert Decision.read(outcome(STORED[:-1] + ', "tries": 2}')) == DECISION


@pytest.mark.parametrize(
    "body",
    [
        None,
        "null",
        "[]",
        '"approve"',
        "{}",
        STORED.replace('"comment"', '"remark"'),
        STORED.replace('"ab12"', "7"),
        STORED.replace('"192.0.2.1"', "{}"),
    ],
)
def test_an_outcome_that_keeps_no_decision_has_none(body: str | None) -> None:
    assert Decision.read(outcome(body)) is None
