"""How long a page of the list of workflows takes among many that are over: the first page, and one half way through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from orchestrator.testing.processes import wait_until
from receiver.benchmark.load import Load, request, run_load
from receiver.benchmark.subjects import ids

if TYPE_CHECKING:
    from receiver.benchmark.results import Results
    from receiver.benchmark.subjects import Ours

#: The rows of a measured page, how often each page is asked for, and the rows of a page on the way to the deep one.
_ROWS: Final = 50
_TIMES: Final = 100
_STRIDE: Final = 200

#: Seconds within which the last of the workflows must be over.
_PATIENCE: Final = 300.0


def measure_lists(results: Results, name: str, ours: Ours, count: int) -> None:
    """Let so many workflows start and end, and take the seconds of each response with a page.

    Raises:
        NotAsExpected: a result was wrong.
    """
    starts = [
        [request("PUT", f"/workflows/bench_done/{one}", token=ours.api_key, body="{}")] for one in ids("listed", count)
    ]
    run_load(Load(port=ours.port, chains=starts, statuses=ours.statuses, expect=ours.created))
    wait_until(
        "all workflows are over", lambda: not _page(ours, "state=running&limit=1")["workflows"], seconds=_PATIENCE
    )

    for place, query in (("first", ""), ("deep", f"&cursor={_middle(ours, count)}")):
        page = request("GET", f"/workflows?limit={_ROWS}{query}", token=ours.api_key)
        load = Load(port=ours.port, chains=[[page]] * _TIMES, expect='"state":"succeeded"', connections=1)
        results.take(f"{name} lists {place}", *run_load(load).durations)


def _middle(ours: Ours, count: int) -> str:
    """Return the cursor of the page that begins behind half of the workflows, or a little before."""
    stride = max(1, min(_STRIDE, count // 2))
    cursor = ""

    for _ in range(max(1, count // 2 // stride)):
        cursor = _page(ours, f"limit={stride}" + (f"&cursor={cursor}" if cursor else ""))["next"]

    return cursor


def _page(ours: Ours, query: str) -> dict[str, Any]:
    return ours.ask("GET", f"/workflows?{query}").document
