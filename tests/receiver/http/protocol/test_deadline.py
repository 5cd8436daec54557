"""A deadline that moves: it is kept to, and its timer is started anew only if it would go off too late."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from receiver.http.protocol.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable


class Timer:
    """A timer of the loop below."""

    def __init__(self, at: float, call: Callable[[], None]) -> None:
        self.at, self.call, self.cancelled = at, call, False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """The clock and the timers of an event loop, moved by hand. `started` counts all timers that there were."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[Timer] = []
        self.started = 0

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        self.started += 1
        self.timers.append(Timer(when, callback))

        return self.timers[-1]

    def advance(self, seconds: float) -> None:
        end = self.now + seconds

        while due := [each for each in self.running if each.at <= end]:
            first = min(due, key=lambda each: each.at)
            self.timers.remove(first)
            self.now = first.at
            first.call()

        self.now = end

    @property
    def running(self) -> list[Timer]:
        return [each for each in self.timers if not each.cancelled]


class Watched:
    """A deadline, its loop, and what it called and when."""

    def __init__(self) -> None:
        self.loop = Loop()
        given: Any = self.loop
        self.deadline = Deadline(given)
        self.called: list[tuple[str, float]] = []

    def set(self, seconds: float, name: str = "passed") -> None:
        self.deadline.set(seconds, lambda: self.called.append((name, self.loop.now)))


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_it_calls_once_when_its_time_has_passed(watched: Watched) -> None:
    watched.set(5)
    watched.loop.advance(4.9)

    assert (watched.called, watched.deadline.pending) == ([], True)

    watched.loop.advance(100)

    assert (watched.called, watched.deadline.pending) == ([("passed", 1005.0)], False)
    assert watched.loop.running == []


@pytest.mark.parametrize(("first", "second"), [(5, 9), (9, 5), (5, 5)], ids=["later", "sooner", "the same"])
def test_only_the_last_one_that_was_set_counts(watched: Watched, first: float, second: float) -> None:
    watched.set(first, "first")
    watched.loop.advance(1)
    watched.set(second, "second")
    watched.loop.advance(100)

    assert watched.called == [("second", 1001.0 + second)]


def test_a_cancelled_one_calls_nothing_and_can_be_set_again(watched: Watched) -> None:
    watched.set(5)
    watched.deadline.cancel()

    assert not watched.deadline.pending

    watched.loop.advance(100)

    assert watched.called == []

    watched.set(5)
    watched.loop.advance(100)

    assert watched.called == [("passed", 1105.0)]


def test_one_that_is_set_for_every_request_needs_few_timers(watched: Watched) -> None:
    for _ in range(1000):
        watched.set(75)
        watched.loop.advance(1)
        watched.deadline.cancel()

    assert watched.called == []
    assert watched.loop.started < 20
    assert len(watched.loop.running) <= 1


def test_what_it_calls_may_set_it_again(watched: Watched) -> None:
    watched.deadline.set(5, lambda: watched.set(2))
    watched.loop.advance(100)

    assert watched.called == [("passed", 1007.0)]


def test_its_end_leaves_no_timer_behind(watched: Watched) -> None:
    watched.deadline.end()
    watched.set(5)
    watched.deadline.cancel()
    watched.deadline.end()

    assert watched.loop.running == []
