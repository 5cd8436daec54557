"""A real SMTP server with TLS that records what it receives, and a mailer that uses it."""

from __future__ import annotations

import contextlib
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from typing import TYPE_CHECKING, Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from orchestrator.config.secret import Secret
from orchestrator.config.settings import MailAddress
from orchestrator.mail.mailer import Mailer
from orchestrator.testing.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import EmailMessage
    from pathlib import Path

PASSWORD = "a password made for these tests"


@dataclass
class Postbox:
    """What an SMTP server received, and its reply to a recipient."""

    messages: list[EmailMessage] = field(default_factory=list)
    answer: str = "250 OK"

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802
        if self.answer.startswith("250"):
            envelope.rcpt_tos.append(address)

        return self.answer

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        self.messages.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"


def certificate_in(directory: Path) -> Path:
    """Return a certificate for localhost with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = directory / "localhost.pem"
    file.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return file


@contextlib.contextmanager
def server(postbox: Postbox, certificate: Path, *, implicit: bool = False, tls: bool = True) -> Iterator[int]:
    """Run an SMTP server; yield its port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    options: dict[str, Any] = {"hostname": "localhost", "port": free_port(), "ready_timeout": 60}

    if implicit:
        options["ssl_context"] = context
    elif tls:
        options |= {
            "tls_context": context,
            "require_starttls": True,
            "authenticator": authenticate,
            "auth_required": True,
        }

    controller = Controller(postbox, **options)
    controller.start()

    try:
        yield options["port"]
    finally:
        controller.stop()


def authenticate(_server: Any, _session: Any, _envelope: Any, _mechanism: Any, data: LoginPassword) -> AuthResult:
    return AuthResult(success=data.password == PASSWORD.encode(), handled=False)


def mailer(port: int, certificate: Path | None, *, kind: Any = "smtp", password: str = PASSWORD) -> Mailer:
    return Mailer(
        MailAddress(
            kind=kind,
            host="localhost",
            port=port,
            user="countersign" if kind == "smtp" else None,
            password=Secret(password) if kind == "smtp" else None,
            sender="no-reply@example.org",
            hello="callbacks.example.org",
            ca_file=certificate,
        )
    )
