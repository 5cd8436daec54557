"""A moment on a page is short to read and exact for whoever needs it, in the reader's zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from receiver.pages.moments import Moments

AT = datetime(2026, 3, 28, 23, 30, 15, 250_000, tzinfo=UTC)


def test_a_moment_is_shown_in_the_readers_zone_and_stays_the_same_for_programs() -> None:
    assert Moments().at(AT) == {
        "machine": "2026-03-28T23:30:15.250Z",
        "exact": "Saturday, 28 Mar 2026, 23:30:15 UTC",
        "shown": "28 Mar 2026, 23:30",
    }
    assert Moments("Europe/Stockholm").at(AT, seconds=True) == {
        "machine": "2026-03-28T23:30:15.250Z",
        "exact": "Sunday, 29 Mar 2026, 00:30:15 CET",
        "shown": "29 Mar 2026, 00:30:15",
    }


@pytest.mark.parametrize("zone", ["", "CET; Path=/", "../UTC", "Mars/Olympus"])
def test_a_zone_that_nobody_knows_is_utc(zone: str) -> None:
    moments = Moments(zone)

    assert (moments.zone, moments.at(AT)) == ("UTC", Moments().at(AT))


@pytest.mark.parametrize(
    ("days", "shown"),
    [
        (0, "today at 23:30"),
        (1, "yesterday at 23:30"),
        (-1, "tomorrow at 23:30"),
        (5, "Saturday at 23:30"),
        (-5, "Saturday at 23:30"),
        (6, "28 Mar 2026 at 23:30"),
        (-6, "28 Mar 2026 at 23:30"),
    ],
)
def test_a_sentence_names_a_day_that_is_near_by_its_weekday(days: int, shown: str) -> None:
    assert Moments().in_words(AT, AT + timedelta(days=days))["shown"] == shown


def test_which_day_it_is_depends_on_the_zone() -> None:
    now = AT - timedelta(hours=1)

    assert Moments().in_words(AT, now)["shown"] == "today at 23:30"
    assert Moments("Europe/Stockholm").in_words(AT, now)["shown"] == "tomorrow at 00:30"


def test_a_day_begins_at_midnight_of_its_zone_also_when_the_clocks_change() -> None:
    stockholm = Moments("Europe/Stockholm")

    assert stockholm.midnight("2026-03-29").astimezone(UTC) == datetime(2026, 3, 28, 23, tzinfo=UTC)
    assert stockholm.midnight("2026-03-30").astimezone(UTC) == datetime(2026, 3, 29, 22, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "yesterday", "2026-02-30", "2026-03-28T08:00:00Z", "28.03.2026"])
def test_what_is_no_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Moments().midnight(text)
