"""The soak: workflows start, wait, are called back, end and are deleted, for minutes, on an engine on disk.

It shows what a benchmark of seconds cannot: that memory and disk stay flat however many workflows have come and gone.
Finished workflows are kept for seconds instead of days, so that within the run as many are deleted as arrive.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchestrator.engine.embedded.retention import SWEEP
from orchestrator.testing.processes import NotAsExpected
from receiver.benchmark.bench import say
from receiver.benchmark.machine import describe_machine, speed
from receiver.benchmark.soak_results import Sample, SoakResults
from receiver.benchmark.subjects import Ours, ids, killed
from receiver.benchmark.usage import resident_mib

if TYPE_CHECKING:
    from collections.abc import Iterator

    from receiver.benchmark.plan import SoakPlan

_SHORT_RETENTION: Final = ("-m", "receiver.benchmark.short_retention")


@contextlib.contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Yield what is set by Ctrl-C, which also ends the block."""
    interrupted = threading.Event()

    def interrupt(*_: object) -> None:
        interrupted.set()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)

    try:
        with contextlib.suppress(KeyboardInterrupt):
            yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)


class Soak:
    """One soak. Its results grow while it runs."""

    def __init__(self, plan: SoakPlan, folder: Path) -> None:
        # Workflows are deleted for the first time after their retention, in one of the searches for them.
        self.results = SoakResults(machine=describe_machine(folder), warm=plan.retention + 2 * SWEEP / 1000)
        self._plan = plan
        self._folder = folder
        self._callbacks = 0
        self._durations: list[float] = []

    def run(self) -> None:
        """Let workflows come and go until the plan is fulfilled or the user interrupts.

        Raises:
            NotAsExpected: a response was wrong, or a workflow did not end.
        """
        engine = f"sqlite:///{self._folder}/engine.db"
        command = (*_SHORT_RETENTION, str(self._plan.retention))
        # A line for each of a million requests would fill the disk.
        quiet = {"COUNTERSIGN_LOG": "warning"}

        with killed(Ours(self._folder, engine, command=command, environment=quiet)) as ours:
            ours.start()

            with _interruptible() as interrupted:
                try:
                    self._waves(ours)
                except NotAsExpected:
                    # Ctrl-C ends the service and the load generator too.
                    if not interrupted.is_set():
                        raise

    def _waves(self, ours: Ours) -> None:
        began = reported = time.monotonic()
        end, reported_callbacks, wave = began + self._plan.minutes * 60, 0, 0

        while self._callbacks < self._plan.callbacks and time.monotonic() < end:
            batch = ids(f"w{wave}", min(self._plan.wave, self._plan.callbacks - self._callbacks))
            ours.suspend(batch)
            self._durations += ours.settle(batch).durations
            self._callbacks += len(batch)
            wave += 1
            now = time.monotonic()

            if now - reported >= self._plan.interval or self._callbacks == self._plan.callbacks:
                rate = (self._callbacks - reported_callbacks) / (now - reported)
                self._report(ours, now - began, rate)
                reported, reported_callbacks = now, self._callbacks

    def _report(self, ours: Ours, at: float, rate: float) -> None:
        cuts = statistics.quantiles(self._durations, n=100) if len(self._durations) > 1 else self._durations * 99
        sample = Sample(
            at=round(at, 1),
            callbacks=self._callbacks,
            rate=round(rate, 1),
            memory=round(resident_mib(ours.pids()) or 0.0, 2),
            journal=round(self._on_disk() / 2**20, 2),
            median=round(cuts[49] * 1000, 2),
            high=round(cuts[98] * 1000, 2),
            speed=round(speed(), 2),
        )
        self._durations = []
        self.results.samples.append(sample)
        say(sample.line)

    def _on_disk(self) -> int:
        """Return the bytes of the engine's files, the write-ahead log of SQLite included."""
        sizes = []

        for file in self._folder.glob("engine.db*"):
            with contextlib.suppress(FileNotFoundError):
                sizes.append(file.stat().st_size)

        return sum(sizes)


def soak(plan: SoakPlan) -> tuple[SoakResults, int]:
    """Soak; return the results, and 0, or 1 if something was wrong or grew."""
    folder = Path(tempfile.mkdtemp(prefix="countersign-soak-"))
    one = Soak(plan, folder)

    try:
        one.run()
    except NotAsExpected as error:
        say(f"WRONG: {error}\nThe log is in {folder}")

        return one.results, 1

    shutil.rmtree(folder, ignore_errors=True)

    return one.results, 0 if one.results.flat else 1
