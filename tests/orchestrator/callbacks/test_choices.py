"""Which outcomes a wait allows, as its record says."""

from __future__ import annotations

import msgspec
import pytest
from resonate.types import PromiseRecord, Value

from orchestrator.callbacks.choices import USUAL, choice_tags, choices_of
from orchestrator.callbacks.question import Inquiry, Question
from orchestrator.stored_names import OUTCOMES_TAG

WAIT = PromiseRecord(id="a.1:1", state="pending", timeout_at=2, created_at=1)


def test_a_question_allows_its_decisions() -> None:
    question = Question(title="Where to?", decisions=("left", "right"))
    inquiry = Inquiry(promise_id=WAIT.id, question=question, people=("ada@example.org",), need="any")
    asking = msgspec.structs.replace(WAIT, param=Value(data=inquiry.stored()))

    assert choices_of(asking) == ("left", "right")


def test_a_wait_for_a_machine_allows_success_and_failure_and_needs_no_tag_for_that() -> None:
    assert choice_tags(USUAL) == {}
    assert choices_of(WAIT) == USUAL == ("succeeded", "failed")


def test_other_outcomes_are_noted_and_read_back() -> None:
    noted = choice_tags(("failed", 'a "b", c'))

    assert choices_of(msgspec.structs.replace(WAIT, tags=dict(noted))) == ("failed", 'a "b", c')


@pytest.mark.parametrize("tag", ["", "{", "1", "null"])
def test_where_somebody_has_changed_the_tag_nothing_is_allowed(tag: str) -> None:
    assert choices_of(msgspec.structs.replace(WAIT, tags={OUTCOMES_TAG: tag})) == ()
