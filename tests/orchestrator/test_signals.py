"""Signals on a loop that has nothing else to do. Each test runs a process, because signals belong to a process."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

#: They start programs.
pytestmark = pytest.mark.slow

PROGRAM = """
import asyncio, importlib, signal, threading
from orchestrator.signals import Signals

signals = Signals()
signals.listen()

async def work():
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    signals.deliver(loop, stop=lambda number: (print("stop", number), stopped.set()), reload=lambda: print("reload"))

    def send():
        # Taken by this very thread, so that the waiting loop is not interrupted.
        signal.pthread_kill(threading.get_ident(), NUMBER)

    threading.Timer(0.2, send).start()
    await stopped.wait()
    signal.raise_signal(signal.SIGHUP)
    await asyncio.sleep(0.1)

asyncio.Runner(loop_factory=importlib.import_module(LOOP).new_event_loop).run(work())
signals.ignore()
signal.raise_signal(signal.SIGTERM)
signal.raise_signal(signal.SIGHUP)
print("still here")
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_loop_that_waits_for_nothing_hears_a_signal_and_no_hangup_after_it(loop: str, number: int) -> None:
    program = PROGRAM.replace("LOOP", repr(loop)).replace("NUMBER", str(int(number)))
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == [f"stop {int(number)}", "still here"]


def test_a_stop_before_the_loop_is_there_ends_at_once_and_a_hangup_does_not() -> None:
    program = (
        "import signal; from orchestrator.signals import Signals; Signals().listen();"
        "signal.raise_signal(signal.SIGHUP); print('here', flush=True);"
        "signal.raise_signal(signal.SIGTERM); print('no')"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert (ended.returncode, ended.stdout) == (0, "here\n")
