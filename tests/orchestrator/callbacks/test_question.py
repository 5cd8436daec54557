"""Questions as values, and the form in which they are stored in the record of their wait."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
from resonate.types import PromiseRecord, Value

from orchestrator.callbacks.claims import Claims
from orchestrator.callbacks.question import Asked, Inquiry, Question, digest_of

QUESTION = Question(
    title="Ship it?", text="é", facts=[("Order", "42")], links=[("Terms", "https://a.example/x?y=1#z")], code=True
)
INQUIRY = Inquiry(promise_id="w.1:1", question=QUESTION, people=("a@x", "b@x"), need="any")


def record(param: Any, promise_id: str = "w.1:1") -> PromiseRecord:
    return PromiseRecord(
        id=promise_id, state="pending", param=Value(data=param), value=Value(), tags={}, timeout_at=1, created_at=0
    )


def as_json(inquiry: Inquiry) -> Any:
    """Return what an engine gives back: lists where there were tuples."""
    return json.loads(json.dumps(inquiry.stored()))


def test_what_was_stored_is_read_back() -> None:
    assert Inquiry.read(record(as_json(INQUIRY))) == INQUIRY


def test_the_digest_is_the_sha256_of_canonical_json_for_good() -> None:
    text = (
        '{"countersign":1,"need":"any","people":["a@x","b@x"],"promise":"w.1:1","question":{"code":true,'
        '"decisions":["approve","reject"],"facts":[["Order","42"]],"links":[["Terms","https://a.example/x?y=1#z"]],'
        '"text":"\\u00e9","title":"Ship it?"}}'
    )

    assert digest_of(record(as_json(INQUIRY))) == hashlib.sha256(text.encode()).hexdigest()
    assert digest_of(record(INQUIRY.stored())) == digest_of(record(as_json(INQUIRY)))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"title": 7},
        {"title": None},
        {"facts": 7},
        {"facts": [["one"]]},
        {"links": [["Terms", 7]]},
        {"links": [["Terms", "javascript:x"]]},
        {"decisions": "approve"},
        {"decisions": [7]},
        {"reason_required": 7},
        {"reason_required": "reject"},
        {"reason_required": ["ship"]},
        {"reason_required": [["reject"]]},
        {"another": 1},
    ],
)
def test_what_we_would_not_ask_asks_nothing(fields: dict[str, Any]) -> None:
    stored = as_json(INQUIRY)
    stored["question"] = stored["question"] | fields if fields else {}

    assert Inquiry.read(record(stored)) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"question": replace(QUESTION, title="Ship it!")},
        {"question": replace(QUESTION, text="e")},
        {"question": replace(QUESTION, facts=[("Order", "43")])},
        {"question": replace(QUESTION, links=[])},
        {"question": replace(QUESTION, decisions=["approve"])},
        {"question": replace(QUESTION, code=False)},
        {"people": ("a@x",)},
        {"need": "all"},
    ],
)
def test_whatever_is_changed_changes_the_digest(changed: dict[str, Any]) -> None:
    assert digest_of(record(replace(INQUIRY, **changed).stored())) != digest_of(record(INQUIRY.stored()))


@pytest.mark.parametrize("param", [None, {}, [], "x", {"func": "f", "args": []}, {"countersign": 1}])
def test_a_wait_that_asks_nobody_is_no_inquiry(param: Any) -> None:
    assert Inquiry.read(record(param)) is None


def test_a_genuine_inquiry_in_the_record_of_another_wait_is_none() -> None:
    assert Inquiry.read(record(as_json(INQUIRY), "w.2:1")) is None


@pytest.mark.parametrize(
    "url",
    [
        *("javascript:alert(1)", "data:text/html,x", "//a.example", "ftp://a.example", "a.example", "", "https://"),
        *("https://a.example/ x", "https://a.example/\n", "https://bank.example@evil.example", "https://é.example"),
    ],
)
def test_a_link_that_is_not_plainly_one_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="link"):
        Question(title="?", links=[("a", url)])


@pytest.mark.parametrize(
    "decisions",
    [
        [],
        ["a", "a"],
        ["a b"],
        ["1"],
        ["é"],
        ["a" * 33],
        list("abcdefg"),
        *([name] for name in ("expired", "cancelled", "succeeded", "failed", "died")),
    ],
)
def test_decisions_that_cannot_be_told_apart_from_other_ends_are_refused(decisions: list[str]) -> None:
    with pytest.raises(ValueError, match="decision"):
        Question(title="?", decisions=decisions)


@pytest.mark.parametrize("fields", [{"title": " "}, {"title": "?", "facts": [("a", "b")] * 51}])
def test_a_question_needs_a_title_and_has_a_limit(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="question"):
        Question(**fields)


CLAIMS = Claims(
    promise_id="w.1:1",
    callback="approval",
    audience="approver",
    subject="a@x",
    outcomes=("approve", "reject"),
    expires_at=1,
    question="w.1:1",
    digest=digest_of(record(as_json(INQUIRY))),
)


def test_what_is_asked_is_read_with_its_digest_and_its_end() -> None:
    asked = Asked.read(record(as_json(INQUIRY)))

    assert asked is not None
    assert (asked.inquiry, asked.question, asked.until) == (INQUIRY, QUESTION, 1)
    assert asked.matches(CLAIMS)
    assert Asked.read(record("no question")) is None


@pytest.mark.parametrize(
    "claims", [replace(CLAIMS, question="w.1:2"), *(replace(CLAIMS, digest=each) for each in ("0" * 64, None, "\xe9"))]
)
def test_a_link_for_another_question_or_another_text_of_it_does_not_match(claims: Claims) -> None:
    asked = Asked.read(record(as_json(INQUIRY)))

    assert asked is not None
    assert not asked.matches(claims)


def test_a_reason_can_be_required_for_decisions_of_the_question_only() -> None:
    asked = Question(title="Ship it?", reason_required=["reject", "approve", "reject"])

    assert asked.reason_required == ("approve", "reject")
    for wrong in (["ship"], "reject", ["approve", "ship"]):
        with pytest.raises(ValueError, match="approve, reject"):
            Question(title="Ship it?", reason_required=wrong)


def test_a_text_is_no_list_of_decisions() -> None:
    with pytest.raises(ValueError, match="a, b"):
        Question(title="Ship it?", decisions=["a", "b"], reason_required="ab")


@pytest.mark.parametrize("comment", ["", "  \n\t", "\u00a0", "\u200b\u2060"])
def test_a_comment_that_nobody_can_read_is_no_reason(comment: str) -> None:
    asked = Question(title="Ship it?", reason_required=["reject"])

    assert asked.needs_reason("reject", comment)
    assert not asked.needs_reason("approve", comment)
    assert not asked.needs_reason("reject", f"{comment}\N{THUMBS DOWN SIGN}")
    assert not QUESTION.needs_reason("reject", comment)


def test_which_decisions_need_a_reason_is_stored_and_read_back() -> None:
    inquiry = replace(INQUIRY, question=replace(QUESTION, reason_required=["reject"]))

    assert Inquiry.read(record(as_json(inquiry))) == inquiry
    assert digest_of(record(as_json(inquiry))) != digest_of(record(as_json(INQUIRY)))
