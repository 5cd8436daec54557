"""Moments and lengths of time as text, for people and for programs: in UTC, and in English whatever the locale."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86400

# `strftime` would take the names from the locale.
_MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


_RFC_3339: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?([Zz]|[+-][0-9]{2}:[0-9]{2})",
    re.ASCII,
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def microseconds(text: str) -> int:
    """Return a time written as RFC 3339 has it, in microseconds since the epoch, rounded down.

    Raises:
        ValueError: it is written in another way, or there is no such time. A leap second is none here.
    """
    found = _RFC_3339.fullmatch(text)

    if found is None:
        raise ValueError("not a time as RFC 3339 has it")

    day, time, fraction, offset = found.groups()

    moment = datetime.fromisoformat(f"{day}T{time}.{(fraction or '0')[:6]:0<6}{offset.upper()}")

    return (moment - _EPOCH) // _MICROSECOND


def utc(milliseconds: int) -> datetime:
    """Return this time, in milliseconds since the epoch, rounded down to the second."""
    return datetime.fromtimestamp(milliseconds // 1000, tz=UTC)


def rfc3339(milliseconds: int) -> str:
    """Return this time, in milliseconds since the epoch, as `2026-11-21T08:00:00.000Z`."""
    seconds = utc(milliseconds).isoformat().removesuffix("+00:00")

    return f"{seconds}.{milliseconds % 1000:03}Z"


def to_the_minute(moment: datetime) -> str:
    """Return a moment for use in a sentence: `21 November 2026, 08:00 UTC`."""
    moment = moment.astimezone(UTC)

    return f"{moment.day} {_MONTHS[moment.month - 1]} {moment:%Y, %H:%M} UTC"


def to_the_second(moment: datetime) -> str:
    """Return a moment for use in a table that says once that it is in UTC: `21 Nov 2026, 08:00:00`."""
    moment = moment.astimezone(UTC)

    return f"{moment.day} {_MONTHS[moment.month - 1][:3]} {moment:%Y, %H:%M:%S}"


def time_left(seconds: float) -> str:
    """Return a length of time in its largest unit, rounded down: `3 days`, at least `less than a minute`."""
    for size, unit in ((_DAY, "day"), (_HOUR, "hour"), (_MINUTE, "minute")):
        if seconds >= size:
            number = int(seconds // size)

            return f"{number} {unit}" if number == 1 else f"{number} {unit}s"

    return "less than a minute"


def duration(length: timedelta) -> str:
    """Return a length of time in its two largest units: `2 min 5 s`; under a second in milliseconds."""
    seconds = max(length.total_seconds(), 0.0)

    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"

    if seconds < _MINUTE:
        return f"{seconds:.1f} s"

    whole = round(seconds)
    units = [(whole // _DAY, "d"), (whole // _HOUR % 24, "h"), (whole // _MINUTE % 60, "min"), (whole % 60, "s")]
    largest = next(place for place, (number, _) in enumerate(units) if number)

    return " ".join(f"{number} {unit}" for number, unit in units[largest : largest + 2] if number)


def retry_after(header: str | None, now: float) -> float | None:
    """Return the seconds that a `Retry-After` header names, a number or a date (RFC 9110), None if it names none.

    `now` is in seconds since the epoch. A date that has passed is 0.
    """
    text = (header or "").strip()

    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)

    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None

    return max(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - now, 0.0)
