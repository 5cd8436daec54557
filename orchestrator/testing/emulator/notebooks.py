"""Notebooks that run as processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from orchestrator.testing.emulator import driver

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchestrator.testing.emulator.definitions import Job
    from orchestrator.testing.emulator.records import TaskRun

#: How many seconds a cancelled notebook has before it is killed.
CANCEL_GRACE: Final = 5.0

#: How many characters of what a notebook prints are kept: the last ones.
_PRINTED: Final = 10_000


class Notebooks:
    """Starts a process for each task's run, and kills the ones that are left at the end."""

    def __init__(self, lock: threading.RLock, startup: float) -> None:
        self._lock = lock
        self._startup = startup
        self._stopping = threading.Event()
        self._processes: dict[int, subprocess.Popen[str]] = {}

    def run(
        self,
        one: TaskRun,
        job: Job,
        given: Mapping[str, str],
        began: Callable[[], bool],
        ended: Callable[[], None],
    ) -> None:
        """Run a job's notebook with these parameters in a thread, once it has started up.

        `began` is called, with the lock, before the process starts, and says whether it still may. `ended` is called,
        with the lock, when the process is over and its outcome is in the record.
        """
        threading.Thread(target=self._execute, args=(one, job, given, began, ended), daemon=True).start()

    def terminate(self, run_id: int) -> bool:
        """End the process of a task's run, first gently. Return whether there was one."""
        process = self._processes.get(run_id)

        if process is None:
            return False

        process.terminate()
        killer = threading.Timer(CANCEL_GRACE, process.kill)
        killer.daemon = True
        killer.start()

        return True

    def stop(self) -> None:
        """Kill every notebook that still runs, and start no more."""
        self._stopping.set()

        with self._lock:
            processes = list(self._processes.values())

        for process in processes:
            process.kill()

        for process in processes:
            process.wait()

    def _execute(
        self,
        one: TaskRun,
        job: Job,
        given: Mapping[str, str],
        began: Callable[[], bool],
        ended: Callable[[], None],
    ) -> None:
        self._stopping.wait(self._startup)

        with tempfile.TemporaryDirectory(prefix="countersign-emulator-") as folder:
            outcome = Path(folder) / "outcome.json"

            with self._lock:
                if self._stopping.is_set() or not began():
                    return

                process = self._start(job, given, outcome)
                self._processes[one.run_id] = process
                one.pid = process.pid

            with process:
                for line in process.stdout or ():
                    one.printed = (one.printed + line)[-_PRINTED:]

            left = _read(outcome)

        with self._lock:
            del self._processes[one.run_id]
            one.exit_code = process.returncode
            one.result, one.error, one.error_trace = left.get("result"), left.get("error"), left.get("error_trace")
            ended()

    @staticmethod
    def _start(job: Job, parameters: Mapping[str, str], outcome: Path) -> subprocess.Popen[str]:
        # In the environment, because everybody can read the arguments in the process list.
        given = {f"COUNTERSIGN_PARAM_{name.upper()}": value for name, value in parameters.items()}
        inherited = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "LANG") if name in os.environ}
        ours = {
            "COUNTERSIGN_EMULATOR_PARAMETERS": json.dumps(dict(parameters)),
            "COUNTERSIGN_EMULATOR_OUTCOME": str(outcome),
        }
        return subprocess.Popen(  # noqa: S603 - the notebook that this emulator is given
            [sys.executable, driver.__file__, job.notebook],
            env={**inherited, **job.environment, **given, **ours},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def _read(outcome: Path) -> dict[str, Any]:
    """Return what the notebook left; nothing if it was killed, or ended without a word."""
    if not outcome.exists():
        return {}

    left: dict[str, Any] = json.loads(outcome.read_text())
    return left
