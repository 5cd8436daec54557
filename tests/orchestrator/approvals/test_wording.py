"""Decisions as people read them."""

from __future__ import annotations

import pytest

from orchestrator.approvals.wording import label, reason_rule
from orchestrator.callbacks.question import Question


@pytest.mark.parametrize(
    ("decision", "words"), [("approve", "Approve"), ("send_back", "Send back"), ("a-b_c", "A b c")]
)
def test_a_decision_is_shown_as_words(decision: str, words: str) -> None:
    assert label(decision) == words


@pytest.mark.parametrize(
    ("required", "rule"),
    [
        ((), ""),
        (("reject",), "A reason is required for “Reject”."),
        (("reject", "send_back"), "A reason is required for “Reject” and “Send back”."),
        (("approve", "reject", "send_back"), "A reason is required."),
    ],
)
def test_the_rule_for_reasons_is_a_sentence(required: tuple[str, ...], rule: str) -> None:
    question = Question(title="Ship it?", decisions=("approve", "reject", "send_back"), reason_required=required)

    assert reason_rule(question) == rule
