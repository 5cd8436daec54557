"""The reverse proxies of scripts/deploy, run with the unchanged files, in front of two receivers."""

from __future__ import annotations

import http.client
import shutil
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.proxying import caddy, nginx

from orchestrator.testing.processes import Service, free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

FORGED = "A" * 60 + "." + "B" * 43


class Proxy:
    """A running proxy: its port, and the folder of its logs."""

    def __init__(self, port: int, service: Service, folder: Path) -> None:
        self.port = port
        self.service = service
        self.folder = folder

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

        try:
            connection.request(method, path, body, {"Host": "callbacks.example.org"} | (headers or {}))
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()

    def slowly(self, start: bytes) -> bytes:
        """Send only the start of a request; return what comes back until the connection ends."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(start)
            return b"".join(iter(lambda: connection.recv(4096), b""))

    def logged(self) -> str:
        return "".join(file.read_text() for file in self.folder.glob("*.log"))


@pytest.fixture(params=[nginx, caddy], ids=["nginx", "caddy"])
def proxy(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Proxy]:
    if shutil.which(request.param.__name__) is None:
        pytest.skip(f"no {request.param.__name__} on PATH")

    url = request.getfixturevalue("database").fresh()

    with Service(tmp_path, url, receivers=2, groups=()) as service:
        service.start()
        folder = tmp_path / "proxy"
        folder.mkdir()
        command, config = request.param(port := free_port(), service.ports, folder)
        (folder / "config").write_text(config)

        with (folder / "output.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=service.environment)

        try:
            one = Proxy(port, service, folder)
            wait_until("the proxy answers", lambda: one.ask("GET", "/readyz") == 200)
            yield one
        finally:
            process.terminate()
            process.wait(10)


@pytest.mark.timeout(90)
def test_the_proxy_enforces_the_limits_that_uvicorn_lacks(proxy: Proxy) -> None:
    json = {"Content-Type": "application/json"}
    assert proxy.ask("POST", f"/callbacks/{FORGED}", b"1", json) == 401
    assert proxy.ask("POST", f"/callbacks/{FORGED}", b"1" * 70_000, json) == 413
    assert proxy.ask("GET", "/healthz", headers={f"X-{n}": "x" * 3900 for n in range(12)}) in {0, 400, 431}

    # After ten seconds for headers or for a body the proxy gives up, and no receiver got the request.
    assert b"200" not in proxy.slowly(b"GET /healthz HTTP/1.1\r\nHost: callbacks.example.org\r\nX-Slow: ")[:16]
    assert proxy.ask("GET", "/healthz") == 200

    # Without one receiver, the other responds, at the latest when the proxy has noticed.
    proxy.service.kill("receiver")
    refused = lambda: {proxy.ask("POST", f"/callbacks/{FORGED}", b"1", json) for _ in range(6)} == {401}  # noqa: E731
    wait_until("the proxy has noticed that no receiver is left", refused, seconds=20)

    proxy.service.kill("receiver-2")
    assert proxy.ask("POST", f"/callbacks/{FORGED}", b"1", json) in {502, 503}
    assert FORGED not in proxy.logged()
