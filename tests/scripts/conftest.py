"""The notebook as a process of its own, and the server to which it reports."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from support.reporting import NOTEBOOK, TOKEN, Ran, Received, Receiver, Run


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    kept = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"] or 0))
            kept.received.append(Received(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            status, headers, text = kept.answers.pop(0) if len(kept.answers) > 1 else kept.answers[0]
            self.send_response(status)

            for name, value in {"Content-Length": str(len(text.encode())), **headers}.items():
                self.send_header(name, value)

            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST  # noqa: N815 - the name that the library looks for

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    kept.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield kept
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def tls_url(tmp_path: Path) -> Iterator[str]:
    """The address of a server with a self-signed certificate for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)

    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()

                    with connection, contextlib.suppress(OSError):
                        context.wrap_socket(connection, server_side=True).close()

        threading.Thread(target=serve, daemon=True).start()
        yield f"https://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def run(receiver: Receiver) -> Run:
    def run(
        source: Path = NOTEBOOK,
        environment: dict[str, str] | None = None,
        *,
        careless: bool = False,
        **parameters: object,
    ) -> Ran:
        given = {"callback_url": receiver.url, "callback_delay": 0.001, "callback_timeout": 30, **parameters}
        variables = {f"COUNTERSIGN_PARAM_{name.upper()}": str(value) for name, value in given.items()}
        process = subprocess.run(
            [sys.executable, "-W", "error", source],
            env={"PATH": os.environ["PATH"], **(environment or {}), **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=60,
        )
        assert careless or TOKEN.partition(".")[0] not in process.stdout
        return Ran(process.returncode, process.stdout)

    return run


@pytest.fixture
def working(tmp_path: Path) -> Callable[[str], Path]:
    """A copy of the notebook with this code as its work, as a user would edit it."""

    def edited(code: str) -> Path:
        before, _, rest = NOTEBOOK.read_text().partition("# vvvv")
        _, _, after = rest.partition("# ^^^^")
        work = "def work(parameters):\n" + "\n".join(f"    {line}" for line in code.splitlines())
        copy = tmp_path / "edited.py"
        copy.write_text(f"{before}# vvvv\n{work}\n\n# ^^^^{after}")
        return copy

    return edited
