"""Traces as an operator gets them: OTEL_* variables, a collector, and a process that ends in time whatever it does."""

from __future__ import annotations

import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from orchestrator.testing.processes import Service, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUOTE = {"sku": "MUG", "quantity": 2}


class Collector(ThreadingHTTPServer):
    """Keeps what is posted to it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received: list[tuple[str, bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.path, body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        yield one
        one.shutdown()


@pytest.mark.slow
def test_spans_reach_the_collector_that_the_standard_variables_name(tmp_path: Path, collector: Collector) -> None:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_SERVICE_NAME": "quotes"}

    with Service(tmp_path, f"sqlite:///{tmp_path}/engine.db", environment=variables) as service:
        service.start()
        service.ask("PUT", "/workflows/price_quote/1", QUOTE, headers={"Prefer": "wait=10"})
        assert service.stop() == 0

    wait_until("the spans arrive", lambda: bool(collector.received))
    sent = b"".join(body for _, body in collector.received)
    assert {path for path, _ in collector.received} == {"/v1/traces"}

    for text in (b"quotes", b"start price_quote", b"step quote", b"workflow price_quote"):
        assert text in sent

    assert b"MUG" not in sent


@pytest.mark.slow
def test_a_collector_that_never_answers_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}"}

        with Service(tmp_path, f"sqlite:///{tmp_path}/engine.db", environment=variables) as service:
            service.start()
            service.ask("PUT", "/workflows/price_quote/1", QUOTE, headers={"Prefer": "wait=10"})
            began = time.monotonic()
            assert service.stop() == 0

    assert time.monotonic() - began < 10
