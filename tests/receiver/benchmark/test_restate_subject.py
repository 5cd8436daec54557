from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.testing.processes import NotAsExpected
from receiver.benchmark.measuring import measure_batch, measure_one_by_one
from receiver.benchmark.restate_release import Release, cache_folder, fetch
from receiver.benchmark.restate_subject import Restate
from receiver.benchmark.results import Results
from receiver.benchmark.subjects import killed

#: These tests start programs.
pytestmark = pytest.mark.slow


@pytest.mark.skipif(not (cache_folder() / "complete").is_file(), reason="scripts/bench --with-restate has not run here")
@pytest.mark.parametrize("kept", [False, True], ids=["suspended", "in memory"])
def test_restate_is_measured_like_the_others(tmp_path: Path, kept: bool) -> None:  # noqa: FBT001
    results = Results(sizes=[5], memory=5, postgres=5)

    with killed(Restate(tmp_path, fetch(cache_folder()), kept=kept)) as restate:
        restate.start()
        measure_batch(results, "restate", restate, 5)
        measure_one_by_one(results, "restate", restate, 3)

    assert len(results.samples["restate latency"]) == 3
    assert (results.median("restate resumes 5") or 0) > 0
    assert (results.median("restate memory 5") or 0) > 50


def test_a_server_that_ends_at_once_is_a_fault_of_the_comparison(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)

    with (
        killed(Restate(tmp_path, Release(program, program), kept=False)) as restate,
        pytest.raises(NotAsExpected, match="Restate ended at its start"),
    ):
        restate.start()
