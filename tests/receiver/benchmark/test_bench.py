from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestrator.testing.processes import NotAsExpected
from receiver.benchmark.load import Load, request, run_load
from receiver.benchmark.results import Results
from receiver.benchmark.subjects import BODY, program

if TYPE_CHECKING:
    from collections.abc import Iterator

#: These tests start programs.
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
SYSTEMS = [
    "Countersign, embedded",
    "the same, payloads encrypted",
    "the same, all suspended",
    "raw SDK, not durable",
    "Countersign, Postgres",
    "raw SDK, Postgres",
    "bare Starlette, JSON in and out",
    "the same + itsdangerous verify",
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
    systems, goals, lists, _machine, _note = ended.stdout.split("\n\n")
    header, *rows = systems.splitlines()
    results = Results.read(file)
    there = [each for each in SYSTEMS if "Postgres" not in each or "postgres" not in results.missing]
    assert [row.split("  ")[0] for row in rows] == there
    assert header.split()[:4] == ["N", "starts/s", "callbacks/s", "resumed/s"]
    assert goals.count("only with --with-restate") == 4
    measured = [line.split("  ")[0] for line in lists.splitlines()[1:]]
    assert measured == [
        f"{name}, {page}"
        for name in ("Countersign, embedded", "Countersign, Postgres")
        for page in ("the latest", "half way through")
        if name in there
    ]
    assert {
        "bare",
        "embedded resumes 20",
        "embedded cpu 20",
        "raw callbacks 20",
        "raw latency",
    } <= results.samples.keys()
    assert all(values for values in results.samples.values())


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
