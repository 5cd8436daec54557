"""The record of a question to people: who was asked, the digest in the links, and what was decided."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.callbacks.outcomes import Outcome
from orchestrator.callbacks.question import Asked, Inquiry, Question
from receiver.surfaces.approval_record import approval_document

ASKED = Asked(
    promise_id="w.1:1",
    inquiry=Inquiry(
        promise_id="w.1:1",
        question=Question(title="Ship it?", text="Not told here."),
        people=("ada@example.org", "bob@example.org"),
        need="any",
    ),
    digest="ab" * 32,
    until=1_800_000_000_500,
)
PUT = {
    "title": "Ship it?",
    "digest": "ab" * 32,
    "people": ["ada@example.org", "bob@example.org"],
    "until": "2027-01-15T08:00:00.500Z",
}


def outcome(kind: str, body: str | None = None) -> Outcome:
    return Outcome(kind=kind, callback="approval", by="approver", body=body, subject="ada@example.org")


@pytest.mark.parametrize("ended", [None, outcome("expired"), outcome("cancelled")])
def test_a_question_that_nobody_decided_has_no_answer(ended: Outcome | None) -> None:
    assert approval_document(ASKED, ended) == PUT | {"answer": None}


KEPT = {"comment": "Go.", "digest": "ab" * 32, "client": None, "at": "2026-11-21T08:00:00.000Z"}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (json.dumps(KEPT), KEPT),
        (json.dumps(KEPT | {"more": 1}), KEPT),
        (None, {}),
        ('{"comment": "Go."}', {}),
        ("[1]", {}),
    ],
)
def test_a_decision_is_told_with_who_made_it_and_what_is_kept_of_every_decision(
    body: str | None, told: dict[str, Any]
) -> None:
    answer = approval_document(ASKED, outcome("approve", body))["answer"]

    assert answer == {"decision": "approve", "person": "ada@example.org", **told}
