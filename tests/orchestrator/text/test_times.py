"""Moments and lengths of time as text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from orchestrator.text.times import (
    duration,
    microseconds,
    retry_after,
    rfc3339,
    time_left,
    to_the_minute,
    to_the_second,
    utc,
)

MOMENT = datetime(2026, 11, 1, 8, 5, 9, 987_000, tzinfo=UTC)


def test_milliseconds_since_the_epoch_become_a_moment_to_the_second() -> None:
    assert utc(1_793_520_309_987) == MOMENT.replace(microsecond=0)


def test_programs_get_a_time_to_the_millisecond() -> None:
    assert rfc3339(1_793_520_309_007) == "2026-11-01T08:05:09.007Z"
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"


def test_people_see_a_moment_in_utc() -> None:
    elsewhere = MOMENT.astimezone(timezone(timedelta(hours=9)))

    assert to_the_minute(elsewhere) == to_the_minute(MOMENT) == "1 November 2026, 08:05 UTC"
    assert to_the_second(elsewhere) == to_the_second(MOMENT) == "1 Nov 2026, 08:05:09"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "less than a minute"),
        (59.9, "less than a minute"),
        (60, "1 minute"),
        (3599, "59 minutes"),
        (3600, "1 hour"),
        (86_399, "23 hours"),
        (86_400, "1 day"),
        (3 * 86_400 - 1, "2 days"),
    ],
)
def test_the_time_left_is_shown_in_its_largest_unit(seconds: float, text: str) -> None:
    assert time_left(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 ms"),
        (0.0154, "15 ms"),
        (1, "1.0 s"),
        (59.94, "59.9 s"),
        (60, "1 min"),
        (125, "2 min 5 s"),
        (3600, "1 h"),
        (3605, "1 h"),
        (90_061, "1 d 1 h"),
    ],
)
def test_a_duration_is_shown_in_its_two_largest_units(seconds: float, text: str) -> None:
    assert duration(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t00:00:01z", 1),
        ("1970-01-01 00:00:01.25+00:00", 1.25),
        ("1970-01-01T00:00:00.000001999Z", 0.000001),
        ("1970-01-01T00:00:00-01:30", 5400),
        ("1969-12-31T23:59:59.5Z", -0.5),
        ("2026-11-21T08:00:00.5+01:00", 1_795_244_400.5),
    ],
)
def test_a_time_as_rfc_3339_has_it_is_read_to_the_microsecond(text: str, seconds: float) -> None:
    assert microseconds(text) == round(seconds * 1_000_000)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "now",
            "2026-11-21",
            "2026-11-21T08:00:00",
            "2026-11-21T08:00Z",
            "20261121T080000Z",
            "2026-W47-6T08:00:00Z",
        ),
        *("2026-02-30T00:00:00Z", "2026-11-21T24:00:01Z", "2026-11-21T08:00:60Z", "2026-11-21T08:00:00+99:00"),
        *("0000-01-01T00:00:00Z", "2026-11-21T08:00:00.Z", "٢٠٢٦-11-21T08:00:00Z"),
        "2026-11-21T08:00:00Z\n",
    ],
)
def test_any_other_text_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"time|day|month|hour|second|offset|range|year"):
        microseconds(text)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        (" 120 ", 120),
        ("Thu, 26 Nov 2026 10:00:30 GMT", 30),
        ("Thursday, 26-Nov-26 10:00:30 GMT", 30),
        ("Thu, 26 Nov 2026 09:00:00 GMT", 0),
        (None, None),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("9" * 400, None),
        ("Thu, 26 Nov 99999999999999999999 10:00:30 GMT", None),
        ("Thu, 26 Nov 2026 10:00:30 +9999999999", None),
    ],
)
def test_a_retry_after_names_seconds_or_a_moment(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, datetime(2026, 11, 26, 10, tzinfo=UTC).timestamp()) == seconds
