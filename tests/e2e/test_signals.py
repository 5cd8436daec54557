"""SIGTERM, SIGINT and SIGHUP at any moment of a process's life, sent to real processes."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import pytest
from support.configuration import environment

from orchestrator.testing.processes import ROOT, free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    type Launch = Callable[..., Started]

MODULES = ("receiver", "orchestrator")
COMMANDS = ("countersign receiver", "countersign worker")
READY = {"receiver": "receiving on", "orchestrator": "the engine is unreachable"}
ALL = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
LIMIT = 10.0


@dataclass
class Started:
    """A process that was started, and what it wrote."""

    process: subprocess.Popen[bytes]
    log: Path

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def code(self) -> int:
        return self.process.wait(LIMIT)

    def said(self, text: str) -> bool:
        assert self.process.poll() is None, self.log.read_text()

        return text in self.log.read_text()


def handles(pid: int) -> bool:
    """Return whether this process has its own handlers for all three signals."""
    status = Path(f"/proc/{pid}/status").read_text()
    (caught,) = (int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt"))

    return all(caught >> (number - 1) & 1 for number in ALL)


def command(program: str) -> list[str]:
    """Return the command line that starts a module, or a command of the distribution."""
    name, *arguments = program.split()

    if name == "countersign":
        return [str(Path(sys.executable).with_name(name)), *arguments]

    return [sys.executable, "-m", name]


@contextlib.contextmanager
def blocked() -> Iterator[None]:
    """Block the signals for processes that are started in this block, as `env --block-signal` does."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ALL)

    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """Starts one of the programs; at the end it is killed if it is still running."""
    running: list[subprocess.Popen[bytes]] = []

    def launched(
        program: str, *before: str, extra: Mapping[str, str] = MappingProxyType({}), **variables: str
    ) -> Started:
        engine = (
            f"sqlite:///{tmp_path}/engine.db" if program.endswith("receiver") else f"http://127.0.0.1:{free_port()}"
        )
        log = tmp_path / f"{len(running)}.log"

        with log.open("wb") as stream:
            process = subprocess.Popen(
                [*before, *command(program)],
                cwd=tmp_path,
                env=environment(engine, PORT=str(free_port()), **variables) | dict(extra),
                stdout=stream,
                stderr=stream,
            )

        running.append(process)

        return Started(process, log)

    yield launched

    for process in running:
        process.kill()
        process.wait(LIMIT)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("module", MODULES)
def test_a_stop_at_any_moment_of_the_start_ends_with_exit_code_0(
    launch: Launch, module: str, number: signal.Signals
) -> None:
    for offset in (0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.3, 1, 2):
        with blocked():
            one = launch(module)

        time.sleep(offset)
        one.send(number)

        assert one.code() == 0, (offset, one.log.read_text())
        assert "Traceback" not in one.log.read_text()


@pytest.mark.parametrize("program", COMMANDS)
def test_a_stop_early_in_the_start_of_a_command_ends_with_exit_code_0(launch: Launch, program: str) -> None:
    for offset in (0, 0.02, 0.1, 0.5):
        with blocked():
            one = launch(program)

        time.sleep(offset)
        one.send(signal.SIGTERM)

        assert one.code() == 0, (offset, one.log.read_text())
        # On a fast machine it may have come so far that it has something to stop, which is no fault.
        assert {line.split()[1] for line in one.log.read_text().splitlines()} <= {"INFO"}


def test_a_stop_does_not_wait_for_an_engine_that_does_not_answer(launch: Launch) -> None:
    one = launch("orchestrator", ENGINE_TIMEOUT="300")
    time.sleep(3)  # it says nothing before it has asked in vain
    one.send(signal.SIGTERM)

    assert one.code() == 0


@pytest.mark.parametrize("module", [*MODULES, *COMMANDS])
def test_a_program_that_is_stuck_in_its_imports_handles_signals(launch: Launch, tmp_path: Path, module: str) -> None:
    (tmp_path / "path").mkdir()
    (tmp_path / "path/pydantic.py").write_text("import time\nprint('stuck', flush=True)\ntime.sleep(300)\n")
    one = launch(module, extra={"PYTHONPATH": str(tmp_path / "path")})
    wait_until("the import is stuck", lambda: one.said("stuck"))
    one.send(signal.SIGHUP)
    one.send(signal.SIGTERM)

    assert one.code() == 0


def test_signals_are_handled_before_any_slow_import() -> None:
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import receiver.command; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True)

    assert {"asyncio", "logging", "pydantic", "resonate", "socket", "typing"} & set(ran.stdout.split()) == set()


@pytest.mark.parametrize("module", MODULES)
def test_signals_that_keep_coming_do_not_change_how_a_process_ends(launch: Launch, module: str) -> None:
    one = launch(module)
    wait_until("it is ready", lambda: one.said(READY[module]))
    end = time.monotonic() + LIMIT
    one.send(signal.SIGTERM)

    while one.process.poll() is None and time.monotonic() < end:
        for number in (signal.SIGHUP, signal.SIGTERM):
            one.send(number)

        time.sleep(0.001)

    assert one.code() == 0, one.log.read_text()
    assert "Traceback" not in one.log.read_text()


@pytest.mark.parametrize("module", MODULES)
def test_a_hangup_never_ends_a_process(launch: Launch, module: str) -> None:
    with blocked():
        one = launch(module)

    while not one.said(READY[module]):
        one.send(signal.SIGHUP)
        time.sleep(0.005)

    one.send(signal.SIGHUP)
    time.sleep(0.1)
    assert one.process.poll() is None
    one.send(signal.SIGTERM)
    assert one.code() == 0


def test_a_hangup_during_the_start_reloads_the_sources_after_the_start(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "sources.toml").write_text(
        '[sources.one]\nscheme = "github"\nsecrets = ["file:secret"]\ntoken = "token"\nid = "id"\n'
    )
    (tmp_path / "secret").write_text("b2Z0ZW4gZW5vdWdoIGFuZCBsb25nIGVub3VnaA")

    with blocked():
        one = launch("receiver", SOURCES=str(tmp_path / "sources.toml"))

    one.send(signal.SIGHUP)
    wait_until("the sources were reloaded", lambda: one.said("the sources were read again: one"))


@pytest.mark.parametrize("module", MODULES)
def test_the_first_process_of_a_container_handles_signals_too(launch: Launch, module: str) -> None:
    namespace = [shutil.which("unshare") or "unshare", "--pid", "--fork", "--kill-child"]

    if subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system does not allow a new process namespace")

    for moment in ("the first instruction", "handlers", "ready"):
        with blocked():
            outer = launch(module, *namespace)

        children = Path(f"/proc/{outer.process.pid}/task/{outer.process.pid}/children")
        wait_until("there is a first process", functools.partial(has_text, children))
        pid = int(children.read_text())

        if moment == "handlers":
            wait_until("the process handles signals", functools.partial(handles, pid))
        elif moment == "ready":
            wait_until("it is ready", functools.partial(outer.said, READY[module]))

        os.kill(pid, signal.SIGTERM)

        assert outer.code() == 0, moment


def has_text(file: Path) -> bool:
    return bool(file.read_text().strip())
