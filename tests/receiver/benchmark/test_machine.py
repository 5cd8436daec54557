from __future__ import annotations

from pathlib import Path

from receiver.benchmark.machine import describe_machine, share_of_a_core


def test_the_machine_is_one_line(tmp_path: Path) -> None:
    line = describe_machine(tmp_path)

    assert "\n" not in line
    assert "cores" in line
    assert "fsync" in line


def test_a_busy_loop_gets_a_share_of_a_core() -> None:
    assert 0 < share_of_a_core(0.05) < 1.5
