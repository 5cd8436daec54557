from __future__ import annotations

import time
from pathlib import Path

import pytest

from receiver.benchmark.machine import describe_machine, share_of_a_core, speed


def test_the_machine_is_one_line(tmp_path: Path) -> None:
    line = describe_machine(tmp_path)

    assert "\n" not in line
    assert "cores" in line
    assert "fsync" in line


def test_a_busy_loop_gets_a_share_of_a_core() -> None:
    assert 0 < share_of_a_core(0.05) < 1.5


def test_the_speed_of_a_machine_that_does_everything_in_half_the_time_is_twice_as_high(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def measured(step: float) -> float:
        clock = iter(range(10_000))
        monkeypatch.setattr(time, "monotonic", lambda: next(clock) * step)

        return speed(2.0)

    assert measured(0.01) == pytest.approx(0.1, rel=0.02)
    assert measured(0.005) == pytest.approx(0.2, rel=0.02)
