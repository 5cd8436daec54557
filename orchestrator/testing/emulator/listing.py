"""Pages of runs and of a run's tasks, as the Jobs API cuts them."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

from orchestrator.testing.emulator.refusals import flag, invalid, number

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchestrator.testing.emulator.records import Run

#: How many elements of an array a page has.
ARRAY_PAGE: Final = 100

_RUNS_PAGE: Final = 20
_LONGEST_RUNS_PAGE: Final = 25

_ARRAYS: Final = ("tasks", "job_parameters", "repair_history")


def cut_arrays(shown: dict[str, Any], page_token: object) -> dict[str, Any]:
    """Return one page of a run's long arrays; arrays without further elements are empty on later pages."""
    start = _read_token(page_token)
    longest = max(len(shown.get(name, ())) for name in _ARRAYS)
    page: dict[str, Any] = {name: shown[name][start : start + ARRAY_PAGE] for name in _ARRAYS if name in shown}

    if longest > start + ARRAY_PAGE:
        page["next_page_token"] = _token(start + ARRAY_PAGE)

    return {**shown, **page}


def select_runs(runs: Iterable[Run], query: Mapping[str, object]) -> tuple[list[Run], dict[str, Any]]:
    """Return the runs of the page that a query of runs/list asks for, newest first, and what says where it goes on."""
    active, completed = flag(query, "active_only"), flag(query, "completed_only")

    if active and completed:
        raise invalid("active_only and completed_only cannot both be true.")

    earliest, latest = number(query, "start_time_from", 0), number(query, "start_time_to", 2**62)
    job_id, limit = number(query, "job_id", 0), number(query, "limit", _RUNS_PAGE) or _LONGEST_RUNS_PAGE
    start = _read_token(query.get("page_token"))

    if limit > _LONGEST_RUNS_PAGE:
        raise invalid(f"Limit {limit} is above the maximum of {_LONGEST_RUNS_PAGE}.")

    found = [
        run
        for run in sorted(runs, key=lambda run: (run.start_time, run.run_id), reverse=True)
        if job_id in {0, run.job_id}
        and not (run.over if active else completed and not run.over)
        and earliest <= run.start_time <= latest
    ]
    more = len(found) > start + limit
    tokens = {"next_page_token": _token(start + limit)} if more else {}

    return found[start : start + limit], {"has_more": more, **tokens}


def _token(start: int) -> str:
    return base64.urlsafe_b64encode(f"from {start}".encode()).decode()


def _read_token(token: object) -> int:
    if not token:
        return 0

    try:
        return int(base64.urlsafe_b64decode(str(token)).decode().removeprefix("from "))
    except ValueError:
        raise invalid("Invalid page token.") from None
