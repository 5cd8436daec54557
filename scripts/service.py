"""A receiver (and a worker, where the engine is remote) as processes of their own, for the demo, benchmark and tests.

They can be killed and started again over the same engine. Not part of the service itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT: Final = Path(__file__).resolve().parent.parent
PATIENCE: Final = 40.0


class NotAsExpected(Exception):
    """A process did not do what it should within the time it has."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An HTTP answer: its status and its JSON document."""

    status: int
    document: dict[str, Any]

    @property
    def shown(self) -> str:
        """The answer in one line: the problem's name, or the document."""
        name = self.document.get("type", "").removeprefix("urn:countersign:")

        return f"{self.status} {name or json.dumps(self.document)}"


class Service:
    """A receiver on a free loopback port, with fresh keys, over the engine at `engine` (a URL)."""

    def __init__(
        self,
        folder: Path,
        engine: str,
        *,
        command: Sequence[str] = ("-m", "receiver"),
        environment: dict[str, str] | None = None,
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.api_key = secrets.token_urlsafe(32)
        self.log = folder / "service.log"
        self._folder = folder
        self._command = command
        self._remote = not engine.startswith(("sqlite:", "memory:"))
        self._receiver: subprocess.Popen[bytes] | None = None
        self._worker: subprocess.Popen[bytes] | None = None
        self.environment = {
            "PATH": os.environ.get("PATH", ""),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "scripts")]),
            "COUNTERSIGN_ENGINE": engine,
            "COUNTERSIGN_SIGNING_KEYS": secrets.token_urlsafe(32),
            "COUNTERSIGN_PAYLOAD_KEYS": secrets.token_urlsafe(32),
            "COUNTERSIGN_API_KEYS": f"local:{hashlib.sha256(self.api_key.encode()).hexdigest()}",
            "COUNTERSIGN_PUBLIC_URL": self.url,
            "COUNTERSIGN_PORT": str(self.port),
            **(environment or {}),
        }

    def start(self, *extra: str) -> float:
        """Start the processes that do not run; return the seconds until the receiver was ready."""
        began = time.monotonic()

        if self._remote and not _runs(self._worker):
            self._worker = self._process("-m", "orchestrator")

        if not _runs(self._receiver):
            self._receiver = self._process(*self._command, *extra)

        wait_until("the receiver is ready", self._ready)

        return time.monotonic() - began

    def kill(self) -> None:
        """Kill -9 whatever runs."""
        for process in (self._receiver, self._worker):
            if process is not None and _runs(process):
                process.send_signal(signal.SIGKILL)
                process.wait(PATIENCE)

    def died(self) -> bool:
        """Return whether the receiver's process is gone."""
        return not _runs(self._receiver)

    def stop(self) -> int:
        """Ask the processes to end with SIGTERM; return the receiver's exit code."""
        for process in (self._worker, self._receiver):
            if process is not None:
                process.terminate()
                process.wait(PATIENCE)

        return -1 if self._receiver is None else self._receiver.returncode

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Return the receiver's answer; without a token the request carries the API key.

        Raises:
            OSError: nobody answered.
        """
        request = urllib.request.Request(  # noqa: S310 - a loopback address of our own
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {token or self.api_key}",
                "Content-Type": "application/json",
                **(headers or {}),
            },
        )

        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310 - as above
                return Answer(status=answer.status, document=json.loads(answer.read()))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(status=error.code, document=json.loads(error.read()))

    def _process(self, *arguments: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - our own module, by this very interpreter
                [sys.executable, *arguments], cwd=self._folder, env=self.environment, stdout=log, stderr=log
            )

    def _ready(self) -> bool:
        if self.died():
            raise NotAsExpected("the receiver ended at its start:\n" + self.log.read_text()[-2000:])

        try:
            return self.ask("GET", "/readyz").status == 200  # noqa: PLR2004
        except OSError:
            return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def wait_until(what: str, happened: Callable[[], bool], *, seconds: float = PATIENCE) -> None:
    """Return once it has happened.

    Raises:
        NotAsExpected: it did not, in time.
    """
    end = time.monotonic() + seconds

    while not happened():
        if time.monotonic() > end:
            raise NotAsExpected(f"{what}: not within {seconds:g} s")

        time.sleep(0.05)


def free_port() -> int:
    """Return a loopback port that nobody listened on a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]

        return port


def _runs(process: subprocess.Popen[bytes] | None) -> bool:
    return process is not None and process.poll() is None
