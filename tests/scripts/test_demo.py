"""The demo's printed text. Whether the text is true, the demo checks itself: it fails if anything did not happen."""

from __future__ import annotations

import re
from pathlib import Path

import demo
import pytest

from orchestrator.testing.processes import NotAsExpected

SOURCE = (Path(demo.__file__)).read_text("utf-8")


def entry(name: str, began: str = "00.000", ended: str = "01.250") -> dict[str, str]:
    moments = {"started_at": f"2026-11-26T06:30:{began}Z", "ended_at": f"2026-11-26T06:30:{ended}Z"}

    return {"id": "1", "name": name, "state": "succeeded", **moments}


def test_every_line_of_the_last_table_says_what_the_step_is_and_how_long_it_took() -> None:
    lines = list(demo.recorded([entry("run-1", ended="50.100"), entry("still_wanted"), entry("trigger_job")]))

    assert lines == [
        "run-1         succeeded   50.1 s  the wait for the notebook's callback, in the first attempt",
        "still_wanted  succeeded    1.2 s  a look, before the job is triggered, whether the pipeline was cancelled",
        "trigger_job   succeeded    1.2 s  triggering the job; the receiver was killed in the middle of this",
    ]


def test_a_step_without_an_explanation_fails_the_demo() -> None:
    with pytest.raises(NotAsExpected, match="run-2"):
        list(demo.recorded([entry("run-2")]))


def test_no_line_is_wider_than_a_terminal_by_much() -> None:
    printed = re.findall(r'(?:step|show|say)\(\s*f?"([^"]+)"', SOURCE)

    assert len(printed) > 15
    assert max(map(len, printed)) <= 115
