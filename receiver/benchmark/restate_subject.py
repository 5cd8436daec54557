"""Restate as a subject of the benchmark: its server, with a service in Python that has the same workflow as ours.

Both run with the defaults of their release, except for what the comparison needs: ports on loopback, no telemetry, a
log without a line for each request, and room for more than a thousand invocations at once.
"""

from __future__ import annotations

import json
import os
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Final, override

from orchestrator.testing.processes import NotAsExpected, free_port, wait_until
from receiver.benchmark.load import request
from receiver.benchmark.subjects import BODY, Subject

if TYPE_CHECKING:
    from receiver.benchmark.restate_release import Release

#: By default, more invocations than this wait in a queue instead of in the service.
_INVOCATIONS: Final = 1_000_000
_PATIENCE: Final = 60.0
#: It is run by another interpreter, and cannot be imported by this one.
_SERVICE: Final = Path(__file__).with_name("restate_service.py")


class Restate(Subject):
    """A Restate server and a service; `kept` in memory, or given up by the service as soon as they wait."""

    created = '"status":"Accepted"'
    applied = ""
    statuses = (200, 202)
    visible = '"succeeded"'

    def __init__(self, folder: Path, release: Release, *, kept: bool) -> None:
        super().__init__(folder, free_port())
        self._folder = folder
        self._admin = free_port()
        self._service_port = free_port()
        mode = "memory" if kept else "suspended"
        service = [str(release.python), "-P", str(_SERVICE), str(self._service_port), str(folder), mode]
        server = [str(release.server), "--base-dir", str(folder), "--no-logo"]
        self._processes = [self._launch("service", service), self._launch("server", server)]

    def start(self) -> None:
        """Wait for the server, and tell it about the service."""
        wait_until("Restate knows its service", self._registered, seconds=_PATIENCE)

    @override
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    @override
    def kill(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    @override
    def starting(self, one: str, of: int) -> str:
        return request("POST", f"/bench/{one}/run/send", body=f'{{"of":{of}}}')

    @override
    def calling_back(self, one: str, body: str = BODY) -> str:
        return request("POST", f"/restate/awakeables/{self.waits[one]}/resolve", body=body)

    @override
    def looking(self, one: str) -> str:
        return request("GET", f"/restate/workflow/bench/{one}/attach")

    def _launch(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{self.port}",
            "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{self._admin}",
            "RESTATE_BIND_ADDRESS": f"127.0.0.1:{free_port()}",
            "RESTATE_LISTEN_MODE": "tcp",
            "RESTATE_DISABLE_TELEMETRY": "true",
            "RESTATE_LOG_FILTER": "warn",
            "RESTATE_WORKER__INVOKER__CONCURRENT_INVOCATIONS_LIMIT": str(_INVOCATIONS),
        }

        with (self._folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(command, cwd=self._folder, env=environment, stdout=log, stderr=log)  # noqa: S603

    def _registered(self) -> bool:
        if any(process.poll() is not None for process in self._processes):
            raise NotAsExpected(f"Restate ended at its start; {self._folder}/*.log say why")

        document = json.dumps({"uri": f"http://127.0.0.1:{self._service_port}"}).encode()
        headers = {"Content-Type": "application/json"}
        ask = urllib.request.Request(
            f"http://127.0.0.1:{self._admin}/deployments", data=document, headers=headers, method="POST"
        )

        try:
            with urllib.request.urlopen(ask, timeout=_PATIENCE):  # noqa: S310 - the same
                return True
        except (OSError, urllib.error.URLError):
            return False
