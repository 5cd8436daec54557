"""What the benchmark measures: processes that are started, loaded with waiting workflows, and observed."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple, override

from orchestrator.callbacks.claims import Claims
from orchestrator.callbacks.tokens import TokenSigner
from orchestrator.config.settings import load_settings
from orchestrator.testing.processes import ROOT, NotAsExpected, Service, free_port, wait_until
from receiver.benchmark import servers
from receiver.benchmark.load import Load, request, run_load
from receiver.benchmark.usage import cpu_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

#: The body of a callback: 201 bytes.
BODY: Final = '{"rows":1000,"note":"' + "x" * 178 + '"}'

#: Seconds within which all workflows of a batch must reach a state.
_PATIENCE: Final = 300.0
#: A process is at rest if within so many seconds it used no more than this share of a core; no wait for that is longer.
_REST: Final = 0.25
_IDLE: Final = 0.2
_LONGEST_REST: Final = 10.0


def program(folder: Path, name: str, url: str = "") -> tuple[subprocess.Popen[bytes], int]:
    """Start one of the programs in `servers` as a process; return the process and its port."""
    port = free_port()
    command = [sys.executable, "-m", servers.__name__, name, str(port), url]
    environment = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(ROOT)}

    with (folder / "programs.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)  # noqa: S603 - this file

    if name != "raw-worker":
        try:
            wait_until(f"{name} listens", lambda: _listens(process, port))
        except NotAsExpected:
            process.kill()
            raise

    return process, port


def _listens(process: subprocess.Popen[bytes], port: int) -> bool:
    if process.poll() is not None:
        raise NotAsExpected("a program ended at its start; programs.log says why")

    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


class Settled(NamedTuple):
    """How fast a batch was settled: callbacks and resumed workflows per second, and the seconds of each callback."""

    callbacks: float
    resumes: float
    durations: list[float]


class Subject:
    """Workflows that wait, in processes that run in `folder` and serve `port`."""

    #: What the response to a start, to an applied callback, and to a look at a workflow that is past its wait contains.
    created = '"created":true'
    applied = '"resolved"'
    visible = '"resolved"'
    #: The statuses of correct responses.
    statuses: tuple[int, ...] = (200, 201)

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        #: What a caller has to know of each wait of the current batch, by the workflow.
        self.waits: dict[str, Any] = {}
        self._progress = folder / servers.PROGRESS
        self._waits = folder / servers.WAITS

    def pids(self) -> list[int]:
        """Return the processes that serve it. What they start counts too."""
        raise NotImplementedError

    def kill(self) -> None:
        """End the processes."""
        raise NotImplementedError

    def starting(self, one: str, of: int) -> str:
        """Return the request that starts the workflow `one` of a batch of `of` workflows."""
        return request("PUT", f"/workflows/{one}", body=f'{{"of":{of}}}')

    def calling_back(self, one: str, body: str = BODY) -> str:
        """Return the callback that one workflow waits for."""
        return request("POST", f"/callbacks/{one}:1", body=body)

    def looking(self, one: str) -> str:
        """Return the request for the state of a workflow."""
        return request("GET", f"/workflows/{one}")

    def suspend(self, batch: Sequence[str]) -> float:
        """Start these workflows; when all of them wait, return how many of them a second got there."""
        self._progress.unlink(missing_ok=True)
        starts = [[self.starting(one, len(batch))] for one in batch]
        report = run_load(Load(port=self.port, chains=starts, statuses=self.statuses, expect=self.created))
        waiting = self._reached("opened")
        self.waits = {key.rpartition(".")[2]: wait for key, wait in json.loads(self._waits.read_text()).items()}

        return len(batch) / (waiting - report.began)

    def settle(self, batch: Sequence[str]) -> Settled:
        """Call back all of them, and return how fast that was."""
        callbacks = [[self.calling_back(one)] for one in batch]
        report = run_load(Load(port=self.port, chains=callbacks, statuses=self.statuses, expect=self.applied))

        return Settled(report.rate, len(batch) / (self._reached("passed") - report.began), report.durations)

    def come_to_rest(self) -> None:
        """Wait until the processes have little to do: the last workflows suspend after their waits were opened."""
        end = time.monotonic() + _LONGEST_REST
        used = cpu_seconds(self.pids())

        while time.monotonic() < end:
            time.sleep(_REST)
            before, used = used, cpu_seconds(self.pids())

            if before is None or used is None or used - before < _REST * _IDLE:
                return

    def _reached(self, what: str) -> float:
        """Return when all workflows of the batch reached this state, in seconds since the epoch."""
        wait_until(f"all workflows have {what}", lambda: self._read(what) > 0, seconds=_PATIENCE)

        return self._read(what)

    def _read(self, what: str) -> float:
        lines = self._progress.read_text().splitlines() if self._progress.is_file() else []

        return next((float(line.split()[1]) for line in lines if line.startswith(what)), 0.0)


class Raw(Subject):
    """The SDK alone: on its in-process engine, or a receiver and a worker on Postgres, whose process is `server`."""

    def __init__(self, folder: Path, url: str = "", server: int | None = None) -> None:
        programs = [program(folder, name, url) for name in (("raw-receiver", "raw-worker") if url else ("raw",))]
        self._processes = [process for process, _ in programs]
        self._server = [] if server is None else [server]
        super().__init__(folder, programs[0][1])

    @override
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes] + self._server

    @override
    def kill(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


class Ours(Service, Subject):
    """Our receiver; if the engine is Postgres, also a worker and the server, whose process is `server`."""

    applied = '"duplicate":false'
    visible = '"state":"succeeded"'

    def __init__(  # noqa: PLR0913 - a whole service; every argument is named
        self,
        folder: Path,
        engine: str,
        *,
        workflows: str = servers.__name__,
        server: int | None = None,
        command: Sequence[str] = ("-m", "receiver"),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        settings = {"COUNTERSIGN_WORKFLOWS": workflows, **(environment or {})}
        Service.__init__(self, folder, engine, environment=settings, command=command)
        Subject.__init__(self, folder, self.port)
        self._signer = TokenSigner(load_settings(self.environment, folder).signing_keys)
        self._server = [] if server is None else [server]

    def start_alone(self) -> None:
        """Start the receiver without a worker, while its engine is unreachable, and return when it is alive."""
        receiver = self.launch("receiver")
        wait_until("the receiver listens", lambda: _listens(receiver, self.port))

    @override
    def pids(self) -> list[int]:
        return [process.pid for process in self._running.values() if process.poll() is None] + self._server

    @override
    def starting(self, one: str, of: int) -> str:
        return request("PUT", f"/workflows/bench_wait/{one}", token=self.api_key, body=f'{{"of":{of}}}')

    @override
    def calling_back(self, one: str, body: str = BODY) -> str:
        return request("POST", "/callbacks", token=self.token(one), body=body)

    @override
    def looking(self, one: str) -> str:
        return request("GET", f"/workflows/bench_wait/{one}", token=self.api_key, prefer="wait=10")

    def token(self, one: str) -> str:
        """Return the token of the callback that one workflow waits for."""
        claims = Claims(
            promise_id=f"bench_wait.{one}:1",
            callback="answer",
            audience="machine",
            subject="",
            outcomes=("succeeded", "failed"),
            expires_at=int(time.time()) + 3600,
            opened_at=self.waits.get(one),
        )

        return self._signer.mint(claims)


def ids(batch: str, count: int) -> list[str]:
    """Return the workflow ids of a batch."""
    return [f"{batch}-{number}" for number in range(count)]


@contextlib.contextmanager
def killed[S: Subject](subject: S) -> Iterator[S]:
    """Yield this subject, and kill its processes at the end."""
    try:
        yield subject
    finally:
        subject.kill()
