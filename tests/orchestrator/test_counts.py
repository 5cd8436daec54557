"""Counts by label, from any thread, with a bounded number of labels."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from orchestrator.counts import MOST_LABELS, OTHER, Counts
from orchestrator.errors import StepRefused, StepUnavailable


def test_events_are_counted_by_their_labels() -> None:
    counts = Counts()
    counts.add("step_failures", "charge")
    counts.add("step_failures", "charge")
    counts.add("step_failures", "ship")

    assert counts.of("step_failures") == {("charge",): 2, ("ship",): 1}
    assert counts.of("mails") == {}


def test_names_that_a_program_makes_up_do_not_become_ever_more_labels() -> None:
    counts = Counts()

    for number in range(MOST_LABELS + 50):
        counts.add("step_failures", f"step{number}")

    assert len(counts.of("step_failures")) == MOST_LABELS + 1
    assert counts.of("step_failures")[OTHER,] == 50


def test_no_event_is_lost_between_threads() -> None:
    counts = Counts()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: counts.add("mails", "ok"), range(2000)))

    assert counts.of("mails") == {("ok",): 2000}


def test_a_call_that_succeeds_is_counted() -> None:
    counts = Counts()

    with counts.result("databricks_calls", "read"):
        assert counts.of("databricks_calls") == {}

    assert counts.of("databricks_calls") == {("read", "ok"): 1}


@pytest.mark.parametrize(
    ("error", "counted"),
    [
        (StepRefused("no"), {("refused",): 1}),
        (StepUnavailable("not now"), {("unavailable",): 1}),
        (ValueError("a fault of ours"), {("unavailable",): 1}),
        (asyncio.CancelledError(), {}),
    ],
)
def test_a_call_that_fails_is_counted_and_fails(error: BaseException, counted: object) -> None:
    counts = Counts()

    with pytest.raises(type(error)), counts.result("mails"):
        raise error

    assert counts.of("mails") == counted
