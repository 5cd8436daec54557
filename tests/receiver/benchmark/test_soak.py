from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.testing.processes import ROOT
from receiver.benchmark.plan import SoakPlan
from receiver.benchmark.results import NotResults
from receiver.benchmark.soak import soak
from receiver.benchmark.soak_results import Sample, SoakResults


def results(
    count: int,
    *,
    memory: Callable[[int], float] = lambda _: 90.0,
    journal: Callable[[int], float] = lambda _: 8.0,
    rate: Callable[[int], float] = lambda _: 1000.0,
    speed: Callable[[int], float] = lambda _: 50.0,
    warm: float = 0.0,
) -> SoakResults:
    samples = [
        Sample(
            at=5.0 * n,
            callbacks=5000 * n,
            rate=rate(n),
            memory=memory(n),
            journal=journal(n),
            median=1.0,
            high=2.0,
            speed=speed(n),
        )
        for n in range(1, count + 1)
    ]
    return SoakResults(machine="small", warm=warm, samples=samples)


def flat(of: SoakResults) -> list[bool | None]:
    return [verdict.flat for verdict in of.verdicts()]


def test_what_stays_the_same_or_shrinks_is_flat() -> None:
    assert flat(results(60)) == [True, True, True]
    assert flat(results(60, memory=lambda n: 200.0 - n, journal=lambda n: 8 + n % 2)) == [True, True, True]
    assert results(60).flat


@pytest.mark.parametrize(("growth", "verdict"), [(0.05, True), (0.3, False)])
def test_what_grows_by_more_than_a_tenth_is_not_flat(growth: float, verdict: bool) -> None:  # noqa: FBT001
    memory = results(60, memory=lambda n: 100 * (1 + growth * n / 60))
    journal = results(60, journal=lambda n: 100 * (1 + growth * n / 60))

    assert (memory.flat, journal.flat) == (verdict, verdict)
    assert (flat(memory)[:2], flat(journal)[:2]) == ([verdict, True], [True, verdict])


def test_growth_while_warming_up_does_not_count() -> None:
    def growing(n: int) -> float:
        return min(n, 15) * 10.0

    assert not results(60, memory=growing, journal=growing).flat
    assert results(60, memory=growing, journal=growing, warm=75).flat


def test_too_few_samples_are_no_verdict_and_no_fault() -> None:
    few = results(8)

    assert flat(few) == [None, None, None]
    assert few.flat
    assert "too short to tell" in few.verdicts()[0].line
    assert SoakResults().flat


def test_after_a_hundred_thousand_workflows_the_rate_is_compared_too() -> None:
    slower = results(60, rate=lambda n: 1000.0 if n < 20 else 700.0)

    assert flat(slower) == [True, True, False]
    assert slower.flat  # the rate of a busy machine decides nothing
    assert "machine x 0.70 (that speed x 1.00)" in slower.verdicts()[2].measured
    assert flat(results(20)) == [True, True, None]


def test_a_machine_that_becomes_slower_is_not_taken_for_a_service_that_does() -> None:
    both = results(60, rate=lambda n: 1000.0 if n < 20 else 700.0, speed=lambda n: 50.0 if n < 20 else 35.0)

    assert flat(both) == [True, True, True]
    assert "machine x 1.00 (that speed x 0.70)" in both.verdicts()[2].measured


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    results(3).write(tmp_path / "file")

    assert SoakResults.read(tmp_path / "file") == results(3)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', '{"format": 1, "soak": {"samples": [{}]}}'])
def test_a_file_that_holds_something_else_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "file").write_text(text)

    with pytest.raises(NotResults, match="file"):
        SoakResults.read(tmp_path / "file")


@pytest.mark.slow
def test_a_small_soak_reports_what_it_measured(capfd: pytest.CaptureFixture[str]) -> None:
    measured, code = soak(SoakPlan(callbacks=25, wave=10, interval=0))

    assert code == 0
    assert [sample.callbacks for sample in measured.samples] == [10, 20, 25]
    assert all(sample.journal > 0 for sample in measured.samples)
    assert capfd.readouterr().err.count("workflows") == 3


@pytest.mark.slow
def test_an_interrupted_soak_ends_with_what_was_measured(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "receiver.benchmark", "soak", "--json", str(tmp_path / "results")],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as running:
        assert running.stderr is not None
        assert "workflows" in running.stderr.readline()
        os.killpg(running.pid, signal.SIGINT)  # as Ctrl-C does
        out, err = running.communicate()

    assert running.returncode == 0, err
    assert "too short to tell" in out
    assert "Traceback" not in err
    assert SoakResults.read(tmp_path / "results").samples
