from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from receiver.benchmark.usage import cpu_seconds, resident_mib


def process(proc: Path, pid: int, parent: int, ticks: tuple[int, int, int, int], pages: int) -> None:
    (proc / str(pid)).mkdir()
    before, between = "0 " * 9, "0 " * 6
    times = " ".join(map(str, ticks))
    (proc / str(pid) / "stat").write_text(f"{pid} (a (b) c) S {parent} {before}{times} {between}{pages} 0 0")


def test_a_process_counts_with_its_descendants_and_those_it_has_waited_for(tmp_path: Path) -> None:
    tick, page = 1 / os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE") / 2**20
    process(tmp_path, 10, 1, (1, 2, 3, 4), 100)
    process(tmp_path, 11, 10, (10, 0, 0, 0), 20)
    process(tmp_path, 12, 11, (0, 100, 0, 0), 3)
    process(tmp_path, 13, 1, (1000, 0, 0, 0), 1000)
    (tmp_path / "14").mkdir()  # it has just ended

    assert cpu_seconds([10], tmp_path) == pytest.approx(120 * tick)
    assert resident_mib([10, 11], tmp_path) == pytest.approx(123 * page)


def test_nothing_is_known_where_there_is_no_proc(tmp_path: Path) -> None:
    assert cpu_seconds([1], tmp_path / "none") is None
    assert resident_mib([], tmp_path) is None


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_real_process_uses_time_and_memory() -> None:
    program = "held = b'x' * 30_000_000; print(sum(range(3_000_000)), flush=True); input()"

    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        running.stdout.readline()

        assert (cpu_seconds([running.pid]) or 0) > 0.01
        assert 30 < (resident_mib([running.pid]) or 0) < 300
        running.kill()
