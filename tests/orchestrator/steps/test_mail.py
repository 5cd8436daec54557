"""Mail: over a real SMTP server, with TLS always; printed to the console only where that is configured."""

from __future__ import annotations

import contextlib
import io
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from typing import TYPE_CHECKING, Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from service import free_port

from orchestrator.errors import StepRefused, StepUnavailable
from orchestrator.secret import Secret
from orchestrator.settings import MailAddress
from orchestrator.steps.mail import Mailer, Message, valid_address

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import EmailMessage
    from pathlib import Path

PASSWORD = "a password made for these tests"
MESSAGE = Message(to="ada@example.org", subject="pipeline\r\nsucceeded", text="All rows are there: é\n")


@dataclass
class Postbox:
    """What an SMTP server received, and how it answers a recipient."""

    messages: list[EmailMessage] = field(default_factory=list)
    answer: str = "250 OK"

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802
        if self.answer.startswith("250"):
            envelope.rcpt_tos.append(address)

        return self.answer

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        self.messages.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost with its key, in one file."""
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
    file = tmp_path_factory.mktemp("tls") / "localhost.pem"
    file.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return file


@contextlib.contextmanager
def server(postbox: Postbox, certificate: Path, *, implicit: bool = False, tls: bool = True) -> Iterator[int]:
    """Run an SMTP server; yields its port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    options: dict[str, Any] = {"hostname": "localhost", "port": free_port()}

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
            ca_file=certificate,
        )
    )


@pytest.mark.parametrize("kind", ["smtp", "smtps"])
async def test_a_message_arrives_over_tls_with_a_stable_message_id(kind: str, certificate: Path) -> None:
    postbox = Postbox()

    with server(postbox, certificate, implicit=kind == "smtps") as port:
        for _ in range(2):
            await mailer(port, certificate, kind=kind).send(MESSAGE, message_id="notify.a")

        await mailer(port, certificate, kind=kind).send(MESSAGE, message_id="notify.b")

    first, again, other = postbox.messages
    assert first["Message-ID"] == again["Message-ID"] != other["Message-ID"]
    assert (first["To"], first["From"]) == ("ada@example.org", "no-reply@example.org")
    assert first["Subject"] == "pipeline succeeded"
    assert first.get_content().splitlines() == ["All rows are there: é"]


async def test_a_server_without_tls_is_refused_before_the_password_is_sent(certificate: Path) -> None:
    postbox = Postbox()

    with server(postbox, certificate, tls=False) as port, pytest.raises(StepRefused):
        await mailer(port, certificate).send(MESSAGE, message_id="a")

    assert postbox.messages == []


async def test_a_certificate_that_nobody_trusts_is_not_sent_to(certificate: Path) -> None:
    postbox = Postbox()

    with server(postbox, certificate) as port, pytest.raises(StepUnavailable):
        await mailer(port, None).send(MESSAGE, message_id="a")

    assert postbox.messages == []


async def test_a_wrong_password_is_a_refusal_that_does_not_hold_it(certificate: Path) -> None:
    with server(Postbox(), certificate) as port, pytest.raises(StepRefused) as caught:
        await mailer(port, certificate, password="wrong-password").send(MESSAGE, message_id="a")

    assert "wrong-password" not in str(caught.value)


@pytest.mark.parametrize(("answer", "error"), [("550 no such person", StepRefused), ("451 later", StepUnavailable)])
async def test_what_the_server_says_decides_whether_it_is_tried_again(
    certificate: Path, answer: str, error: type[Exception]
) -> None:
    with server(Postbox(answer=answer), certificate) as port, pytest.raises(error, match=answer[:3]):
        await mailer(port, certificate).send(MESSAGE, message_id="a")


async def test_a_server_that_is_away_may_be_tried_again(certificate: Path) -> None:
    with server(Postbox(), certificate) as port:
        pass

    with pytest.raises(StepUnavailable):
        await mailer(port, certificate).send(MESSAGE, message_id="a")


async def test_the_check_signs_in_and_sends_nothing(certificate: Path) -> None:
    postbox = Postbox()

    with server(postbox, certificate) as port:
        await mailer(port, certificate).check()

        with pytest.raises(StepRefused):
            await mailer(port, certificate, password="wrong").check()

    assert postbox.messages == []


async def test_the_console_shows_the_whole_message() -> None:
    console = io.StringIO()
    await Mailer(MailAddress(kind="console"), console=console).send(MESSAGE, message_id="a")

    assert "All rows are there" in console.getvalue()
    assert "ada@example.org" in console.getvalue()


async def test_without_a_mail_setting_mail_is_refused() -> None:
    with pytest.raises(StepRefused, match="COUNTERSIGN_MAIL"):
        await Mailer(MailAddress(kind="none")).send(MESSAGE, message_id="a")

    with pytest.raises(StepRefused, match="COUNTERSIGN_MAIL"):
        await Mailer(MailAddress(kind="none")).check()


@pytest.mark.parametrize("address", ["ada@example.org", "a.b+c@x-y.example", "a@localhost"])
def test_a_plain_address_is_taken(address: str) -> None:
    assert valid_address(address) == address


@pytest.mark.parametrize(
    "address",
    ["", "ada", "ada@", "@x", "a b@c", "Ada <ada@x>", "a@x\n", "a@x\r\nBcc: b@y", "a,b@x", "a@x@y", "é@x", "a@-"],
)
def test_anything_else_is_no_address(address: str) -> None:
    with pytest.raises(ValueError, match="address"):
        valid_address(address)
