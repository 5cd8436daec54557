"""Moments on pages: short for reading, exact for whoever points at them, and readable by programs.

A page without a script does not learn the reader's time zone, so it shows the zone that the reader chose, or UTC.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, tzinfo
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo, available_timezones

if TYPE_CHECKING:
    from collections.abc import Sequence

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

#: For how many days a weekday alone names a day.
_WEEK: Final = 6


class Moments:
    """Writes moments in one time zone."""

    def __init__(self, zone: str = "UTC") -> None:
        #: The zone's name, or UTC if this computer does not know the zone.
        self.zone: Final = zone if zone in zones() else "UTC"
        self._info: Final[tzinfo] = UTC if self.zone == "UTC" else ZoneInfo(self.zone)

    def at(self, moment: datetime, *, seconds: bool = False) -> dict[str, str]:
        """Return a moment for programs (`machine`), to the second with its zone (`exact`), and as a table shows it."""
        here = moment.astimezone(self._info)
        clock = "%H:%M:%S" if seconds else "%H:%M"

        return {
            "machine": moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "exact": f"{_DAYS[here.weekday()]}, {here.day} {_MONTHS[here.month - 1]} {here:%Y, %H:%M:%S} {here:%Z}",
            "shown": f"{here.day} {_MONTHS[here.month - 1]} {here:%Y}, {here:{clock}}",
        }

    def in_words(self, moment: datetime, now: datetime) -> dict[str, str]:
        """Return a moment as a sentence has it: `Tuesday at 08:00` if it is less than six days away, else its date."""
        here = moment.astimezone(self._info)
        today = now.astimezone(self._info).date()
        days = (here.date() - today).days
        near = {0: "today", -1: "yesterday", 1: "tomorrow"}
        close = abs(days) < _WEEK
        day = near.get(days) or (_DAYS[here.weekday()] if close else f"{here.day} {_MONTHS[here.month - 1]} {here:%Y}")

        return {**self.at(moment), "shown": f"{day} at {here:%H:%M}"}

    def midnight(self, day: str) -> datetime:
        """Return when a day, such as `2026-11-21`, begins in this zone.

        Raises:
            ValueError: it is not a day.
        """
        return datetime.combine(date.fromisoformat(day), time(), tzinfo=self._info)


def zones() -> Sequence[str]:
    """Return the names of the time zones that this computer knows, in order; none on a computer without their data."""
    return _ZONES


_ZONES: Final = tuple(sorted(name for name in available_timezones() if "/" in name or name == "UTC"))
