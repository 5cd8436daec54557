"""The sentence about a run says whom it waits for and since when, what fails, or how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.callbacks.question import Asked, Inquiry, Question
from orchestrator.durable.try_records import TryRecord
from orchestrator.runs.root_ids import RootName
from orchestrator.runs.roots import RootView
from orchestrator.runs.step_view import StepView
from receiver.pages.story import listed, story_of, wait_story

if TYPE_CHECKING:
    from orchestrator.runs.roots import State
    from receiver.pages.story import Story

START = 1_800_000_000_000
MINUTE = 60_000


def view(state: State = "running", *, error: str | None = None, after: int | None = None) -> RootView:
    return RootView(
        root_id="flow.one",
        state=state,
        result=None,
        error=error,
        request="{}",
        started_at=START,
        ended_at=None if after is None else START + after,
    )


def step(name: str = "charge", state: State = "running", **more: Any) -> StepView:
    usual: dict[str, Any] = {
        "id": f"flow.one:{name}",
        "name": name,
        "state": state,
        "started_at": START,
        "ended_at": None,
    }

    return StepView(**usual | more)


def question(name: str, *people: str, **more: Any) -> StepView:
    inquiry = Inquiry(promise_id=f"flow.one:{name}", question=Question(title="Ship it?"), people=people, need="any")
    asked = Asked(promise_id=inquiry.promise_id, inquiry=inquiry, digest="0" * 64, until=START + MINUTE)

    return step(name, waits="callback", asked=asked, **more)


def tried(number: int, error: str, next_at: int | None) -> TryRecord:
    return TryRecord(number=number, at=START, error=error, next_at=next_at)


def told(story: Story) -> str:
    """Return a story as text, with the time of day for each moment."""
    return "".join(part if isinstance(part, str) else f"{part:%H:%M}" for part in story)


@pytest.mark.parametrize(
    ("state", "error", "sentence"),
    [
        ("succeeded", None, "Finished after 1 min, 08:01."),
        ("failed", '{"message": "no stock"}', "Failed after 1 min, 08:01: no stock."),
        ("failed", '{"message": "Really?"}', "Failed after 1 min, 08:01: Really?"),
        ("failed", '{"message": " "}', "Failed after 1 min, 08:01."),
        ("failed", '{"message": 7}', "Failed after 1 min, 08:01."),
        ("failed", '["odd"]', "Failed after 1 min, 08:01."),
        ("expired", None, "Nobody answered in time: it expired after 1 min, 08:01."),
        ("cancelled", None, "Cancelled after 1 min, 08:01."),
    ],
)
def test_a_run_that_is_over_says_how_it_ended(state: State, error: str | None, sentence: str) -> None:
    assert told(story_of(view(state, error=error, after=MINUTE), [question("old", "ada@example.org")])) == sentence


def test_a_message_cannot_fill_the_page_or_begin_a_line_of_its_own() -> None:
    story = told(story_of(view("failed", error='{"message": "a\\nb' + "x" * 5000 + '"}', after=MINUTE), []))

    assert len(story) < 400
    assert "\n" not in story
    assert story.endswith("…")


def test_people_come_first_and_are_named_once() -> None:
    steps = [
        step("job", waits="callback", started_at=START - MINUTE),
        question("first", "ada@example.org", "bob@example.org", started_at=START + 2 * MINUTE),
        question("second", "ada@example.org", started_at=START + MINUTE),
        question("decided", "eve@example.org", state="succeeded"),
        step("charge"),
    ]

    assert told(story_of(view(), steps, reminded={"flow.one:first": 2, "flow.one:decided": 9})) == (
        "Waiting for ada@example.org and bob@example.org since 08:01, and for 1 other answer; reminded twice."
    )


@pytest.mark.parametrize(
    ("steps", "sentence"),
    [
        ([step("job", waits="callback")], "Waiting for the answer to “job” since 08:00."),
        (
            [step("a", waits="callback"), step("b", waits="callback", started_at=START - MINUTE)],
            "Waiting for the answers to “a” and “b” since 07:59.",
        ),
        ([step("charge", state="succeeded")], "It has not begun yet."),
        ([step("charge")], "The step “charge” has been running since 08:00."),
        ([step("nap", waits="time", until=START + MINUTE)], "Sleeping until 08:01."),
        (
            [step("nap", waits="time", until=START + MINUTE), step("sub", child=RootName("part", "1"))],
            "Waiting for the workflow part.1 since 08:00.",
        ),
        (
            [step("charge", tries=[tried(1, "refused", START + MINUTE)])],
            "The step “charge” has failed once, last 08:00. The next try: 08:01.",
        ),
        (
            [step("ok"), step("charge", tries=[tried(8, "refused", None)])],
            "The step “charge” has failed 8 times, last 08:00.",
        ),
    ],
)
def test_a_run_without_a_question_says_what_it_does(steps: list[StepView], sentence: str) -> None:
    assert told(story_of(view(), steps)) == sentence


def test_why_it_cannot_go_on_comes_before_everything_else() -> None:
    held = tried(1, "its code has changed", None)

    assert told(story_of(view(), [question("q", "ada@example.org")], held=held)) == (
        "It cannot go on since 08:00: its code has changed."
    )


def test_a_wait_says_who_ended_it() -> None:
    over = question("q", "ada@example.org", state="succeeded", ended_at=START + MINUTE)

    assert told(wait_story(question("q", "ada@example.org"), ended=None, reminded=4)) == (
        "Waiting for ada@example.org since 08:00; reminded 4 times."
    )
    assert told(wait_story(over, ended="decided by a person")) == "Decided by a person, 08:01."
    assert told(wait_story(over, ended=None)) == "It is over, 08:01."


def test_at_most_three_people_are_named() -> None:
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
