"""A step as others see it: its state is how its callback ended, and what it asks people is read with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
from resonate.types import PromiseRecord, Value

from orchestrator.callbacks.outcomes import Outcome, envelope
from orchestrator.callbacks.question import Inquiry, Question, digest_of
from orchestrator.errors import UnknownPromise, WorkflowCancelled, WorkflowExpired, WorkflowFailed
from orchestrator.failures import failure_of
from orchestrator.runs import step_view
from orchestrator.runs.step_view import StepView, view_steps
from orchestrator.stored_names import CALLBACK_TAG, STEP_TAG

if TYPE_CHECKING:
    from resonate.types import PromiseState

    from orchestrator.engine.promises import Promises


def record(state: PromiseState, value: object = None, *, param: object = None, **tags: str) -> PromiseRecord:
    return PromiseRecord(
        id="w.1:1",
        state=state,
        param=Value(data=param),
        value=Value(data=value),
        tags=tags,
        timeout_at=9,
        created_at=4,
        settled_at=None if state == "pending" else 5,
    )


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        ("pending", "running"),
        ("resolved", "succeeded"),
        ("rejected", "failed"),
        ("rejected_canceled", "cancelled"),
        ("rejected_timedout", "expired"),
    ],
)
def test_the_state_of_a_step_is_that_of_its_promise(state: PromiseState, shown: str) -> None:
    one = StepView.read(record(state, "of the step's own", **{STEP_TAG: "charge"}))

    assert (one.id, one.name, one.state) == ("w.1:1", "charge", shown)
    assert (one.started_at, one.ended_at) == (4, None if state == "pending" else 5)
    assert (one.asked, one.outcome) == (None, None)


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (WorkflowFailed("a"), "failed"),
        (WorkflowCancelled("a"), "cancelled"),
        (WorkflowExpired("a"), "expired"),
        (ValueError("a"), "failed"),
    ],
)
def test_a_step_that_raised_the_end_of_a_workflow_is_in_that_state(error: Exception, shown: str) -> None:
    assert StepView.read(record("rejected", failure_of(error), **{STEP_TAG: "charge"})).state == shown


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("succeeded", "succeeded"),
        ("approve", "succeeded"),
        ("failed", "failed"),
        ("died", "failed"),
        ("expired", "expired"),
        ("cancelled", "cancelled"),
    ],
)
def test_the_state_of_a_wait_is_how_it_ended_though_its_promise_is_always_resolved(kind: str, shown: str) -> None:
    outcome = Outcome(kind=kind, callback="run-1", by="callback")
    value = envelope("w.1:1", outcome, ikey="k", delivery="d")
    one = StepView.read(record("resolved", value, **{CALLBACK_TAG: "run-1"}))

    assert (one.name, one.state, one.outcome) == ("run-1", shown, outcome)


def test_a_wait_of_a_question_says_what_is_asked_of_whom_until_when() -> None:
    inquiry = Inquiry(promise_id="w.1:1", question=Question(title="Ship it?"), people=("ada@example.org",), need="any")
    held = record("pending", param=inquiry.stored(), **{CALLBACK_TAG: "approval"})
    asked = StepView.read(held).asked

    assert asked is not None
    assert (asked.question.title, asked.inquiry.people, asked.until) == ("Ship it?", ("ada@example.org",), 9)
    assert asked.digest == digest_of(held)


class Store:
    """Three steps of one workflow."""

    async def get(self, promise_id: str) -> PromiseRecord:
        if promise_id not in {"w.1:1", "w.1:2", "w.1:3"}:
            raise UnknownPromise(promise_id)

        return PromiseRecord(id=promise_id, state="resolved", timeout_at=9, created_at=4, settled_at=5)


@pytest.mark.parametrize("page", [2, 3])
async def test_a_page_says_whether_there_are_more_steps(page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_view, "PAGE", page)
    steps, more = await view_steps(cast("Promises", Store()), "w.1")

    assert ([step.id for step in steps], more) == (["w.1:1", "w.1:2", "w.1:3"][:page], page < 3)


async def test_a_page_goes_on_after_a_step() -> None:
    steps, more = await view_steps(cast("Promises", Store()), "w.1", after="w.1:1")

    assert ([step.id for step in steps], more) == (["w.1:2", "w.1:3"], False)


async def test_a_step_of_another_workflow_is_no_place_to_go_on() -> None:
    with pytest.raises(ValueError, match="no such step"):
        await view_steps(cast("Promises", Store()), "w.1", after="w.2:1")
