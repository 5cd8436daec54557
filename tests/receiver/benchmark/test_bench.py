from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestrator.testing.processes import NotAsExpected
from receiver.benchmark.load import Load, request, run_load
from receiver.benchmark.subjects import BODY, program
from receiver.benchmark.table import table

if TYPE_CHECKING:
    from collections.abc import Iterator

#: These tests start programs.
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
ROWS = [
    "bare Starlette, JSON in and out",
    "the same + itsdangerous verify",
    "forged tokens refused",
    "embedded, N=20: callbacks",
    "embedded, N=20: resumed",
    "resumed, N=20 : N=20",
    "resumed, after 100 000 : before",
    "Postgres, N=20: callbacks",
    "Postgres, N=20: resumed",
    "the same callbacks",
    "one callback to visible result",
    "the same on Postgres",
    "memory of a receiver alone",
    "memory per workflow, N=20",
    "the next N : the first N",
    "start to /readyz",
    "the same, 10 000 workflows open",
]


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    process, port = program(tmp_path, "bare")
    yield port
    process.kill()
    process.wait()


@pytest.mark.timeout(900)  # a whole benchmark takes minutes on a busy machine
def test_a_small_run_measures_everything_and_finds_nothing_wrong(tmp_path: Path) -> None:
    file = tmp_path / "samples.json"
    ended = subprocess.run(
        [sys.executable, "-m", "receiver.benchmark", "--size", "20", "--json", file],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ended.returncode, "WRONG" in ended.stderr) == (0, False), ended.stderr
    header, *rows = ended.stdout.split("\n\n")[0].splitlines()
    assert header.split() == ["measured", "beside", "it", "goal", "verdict"]
    assert [row.split("  ")[0] for row in rows] == ROWS
    assert {"bare", "embedded resumes 20", "raw callbacks 20"} <= json.loads(file.read_text())["samples"].keys()


def test_a_goal_is_a_share_of_what_the_same_run_did_elsewhere() -> None:
    def verdict(bare: float) -> str:
        lines = table({"bare": [bare], "forged": [60.0, 61.0, 1.0]}, [1], 1, 1).splitlines()
        return next(line.split()[-1] for line in lines if line.startswith("forged"))

    assert (verdict(100), verdict(101)) == ("met", "missed")


def test_what_was_not_measured_is_told_to_be_left_out() -> None:
    _header, *rows = table({}, [200], 10, 10).splitlines()

    assert len(rows) == len(ROWS)
    assert {row.endswith("left out") for row in rows} == {True}


@pytest.mark.parametrize(
    ("expect", "statuses"), [("settled", (201,)), ("another text", (200,))], ids=["status", "text"]
)
def test_a_load_that_is_answered_otherwise_than_expected_is_refused(
    port: int, expect: str, statuses: tuple[int, ...]
) -> None:
    chain = [request("POST", "/callbacks", body=BODY)]

    with pytest.raises(NotAsExpected, match=r"200.*settled"):
        run_load(Load(port=port, chains=[chain] * 40, expect=expect, statuses=statuses))


def test_a_load_sends_every_request_once_and_times_each(port: int) -> None:
    chain = [request("POST", "/callbacks", body=BODY)] * 2
    report = run_load(Load(port=port, chains=[chain] * 100, expect="settled"))

    assert len(report.durations) == 100
    assert len(BODY) == 201
