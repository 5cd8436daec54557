"""Times as answers show them: RFC 3339 in UTC, to the millisecond."""

from __future__ import annotations

from datetime import UTC, datetime


def rfc3339(milliseconds: int) -> str:
    """Return this time, in milliseconds since the epoch, as `2026-11-21T08:00:00.000Z`."""
    moment = datetime.fromtimestamp(milliseconds // 1000, tz=UTC)

    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03}Z"
