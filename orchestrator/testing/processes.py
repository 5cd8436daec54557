"""Receivers (and workers, if the engine is remote) as processes of their own, for the demo, the benchmark and tests.

They can be killed and started again with the same engine. This module is not part of the service itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import random
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

_PORTS: Final = range(20_000, 32_000)
_given: Final[set[int]] = set()
ROOT: Final = Path(__file__).resolve().parents[2]
PATIENCE: Final = 40.0


class NotAsExpected(Exception):
    """A process did not do what it should, or not in time."""


@dataclass(frozen=True, kw_only=True)
class Response:
    """An HTTP response: its status and its JSON document."""

    status: int
    document: dict[str, Any]

    @property
    def shown(self) -> str:
        """The response on one line: its status with the problem's name, or with the document."""
        name = self.document.get("type", "").removeprefix("urn:countersign:")

        return f"{self.status} {name or json.dumps(self.document)}"


class Service:
    """Receivers on free loopback ports, with new keys, using the engine at `engine` (a URL).

    The processes are named `receiver`, `receiver-2`, ... and, with a remote engine, `worker`, `worker-2`, ...: one
    worker for each of the `groups`. All links point to the first receiver.
    """

    def __init__(  # noqa: PLR0913 - a whole service; every argument is named
        self,
        folder: Path,
        engine: str,
        *,
        command: Sequence[str] = ("-m", "receiver"),
        environment: dict[str, str] | None = None,
        receivers: int = 1,
        groups: Sequence[str] = ("default",),
    ) -> None:
        self.ports = [free_port() for _ in range(receivers)]
        self.port = self.ports[0]
        self.url = f"http://127.0.0.1:{self.port}"
        self.api_key = secrets.token_urlsafe(32)
        self.log = folder / "service.log"
        self._folder = folder
        self._command = command
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        remote = not engine.startswith(("sqlite:", "memory:"))
        self._groups = dict(zip(_names("worker", len(groups)), groups, strict=True)) if remote else {}
        self._receivers = dict(zip(_names("receiver", receivers), self.ports, strict=True))
        self.names = (*self._groups, *self._receivers)
        self.environment = {
            "PATH": os.environ.get("PATH", ""),
            "PYTHONPATH": str(ROOT),
            "COUNTERSIGN_ENGINE": engine,
            "COUNTERSIGN_SIGNING_KEYS": secrets.token_urlsafe(32),
            "COUNTERSIGN_PAYLOAD_KEYS": secrets.token_urlsafe(32),
            "COUNTERSIGN_API_KEYS": f"local:{hashlib.sha256(self.api_key.encode()).hexdigest()}",
            "COUNTERSIGN_PUBLIC_URL": self.url,
            **(environment or {}),
        }

    def start(self, *extra: str) -> float:
        """Start the processes that are not running; return the seconds until all receivers were ready."""
        began = time.monotonic()

        for name in self.names:
            if self.died(name):
                self.launch(name, *extra)

        for number, name in enumerate(self._receivers):
            wait_until(f"{name} is ready", lambda name=name, number=number: self._ready(name, number))  # type: ignore[misc]

        return time.monotonic() - began

    def launch(self, name: str, *extra: str) -> subprocess.Popen[bytes]:
        """Start this process without waiting for it."""
        if name in self._groups:
            port, arguments = 0, ["-m", "orchestrator", "--group", self._groups[name]]
        else:
            port, arguments = self._receivers[name], [*self._command, *extra]

        with self.log.open("ab") as log:
            self._running[name] = subprocess.Popen(  # noqa: S603 - our own module, by this very interpreter
                [sys.executable, *arguments],
                cwd=self._folder,
                env=self.environment | {"COUNTERSIGN_PORT": str(port)},
                stdout=log,
                stderr=log,
            )

        return self._running[name]

    def kill(self, *names: str) -> None:
        """Send SIGKILL to those of these processes (by default all) that are running."""
        for name in names or self.names:
            if not self.died(name):
                self._running[name].send_signal(signal.SIGKILL)
                self._running[name].wait(PATIENCE)

    def died(self, name: str = "receiver") -> bool:
        """Return whether this process is not running."""
        return name not in self._running or self._running[name].poll() is not None

    def stop(self) -> int:
        """Ask the processes to end with SIGTERM; return the first receiver's exit code."""
        for process in self._running.values():
            process.terminate()
            process.wait(PATIENCE)

        return self._running["receiver"].returncode if "receiver" in self._running else -1

    def ask(  # noqa: PLR0913 - a whole request; every argument is named
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        headers: dict[str, str] | None = None,
        receiver: int = 0,
    ) -> Response:
        """Return this receiver's response. Without `token`, the request carries the API key.

        Raises:
            OSError: there was no response, or an incomplete one.
        """
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.ports[receiver]}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {token or self.api_key}",
                "Content-Type": "application/json",
                **(headers or {}),
            },
        )

        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as response:  # noqa: S310 - our own loopback URL
                return Response(status=response.status, document=json.loads(response.read()))
        except urllib.error.HTTPError as error:
            with error:
                return Response(status=error.code, document=json.loads(error.read()))
        except http.client.HTTPException as error:
            raise ConnectionError("the response was cut off") from error

    def _ready(self, name: str, number: int) -> bool:
        if self.died(name):
            raise NotAsExpected(f"{name} ended while it was starting:\n" + self.log.read_text()[-2000:])

        try:
            return self.ask("GET", "/readyz", receiver=number).status == 200  # noqa: PLR2004
        except OSError:
            return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def wait_until(what: str, happened: Callable[[], bool], *, seconds: float = PATIENCE) -> None:
    """Return once `happened` returns True.

    Raises:
        NotAsExpected: it did not happen in time.
    """
    end = time.monotonic() + seconds

    while not happened():
        if time.monotonic() > end:
            raise NotAsExpected(f"{what}: this did not happen within {seconds:g} s")

        time.sleep(0.05)


def free_port() -> int:
    """Return a loopback port that nobody listens on and that this function has not returned before in this process.

    The port is below the range from which systems assign ports, so no other program's connection takes it before its
    server does, or while its server is down. Another process that calls this at the same moment may get the same port.
    """
    for port in random.sample(_PORTS, len(_PORTS)):
        if port in _given:
            continue

        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            _given.add(port)
            return port

    raise NotAsExpected("no loopback port is free")


def _names(kind: str, count: int) -> list[str]:
    return [kind, *(f"{kind}-{number}" for number in range(2, count + 1))][:count]
