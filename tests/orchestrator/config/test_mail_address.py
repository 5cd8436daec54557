"""How mail is sent: by SMTP with TLS, or printed where nobody else can read it."""

from __future__ import annotations

import pytest

from orchestrator.config.mail_address import mail_address
from orchestrator.errors import ConfigurationError

NAME = "COUNTERSIGN_X"


def test_mail_goes_by_smtp_with_credentials_percent_decoded() -> None:
    found = mail_address(
        NAME,
        "smtp://ops%40example.org:p%2Fw%C3%A4@Mail.example.org?from=a%2Bb@example.org",
        public_host="hooks.example.org",
    )

    assert (found.kind, found.host, found.port) == ("smtp", "mail.example.org", 587)
    assert found.user == "ops@example.org"
    assert found.password is not None
    assert found.password.text() == "p/wä"
    assert found.sender == "a+b@example.org"


@pytest.mark.parametrize(
    ("given", "port", "sender"),
    [
        ("smtp://mail?from=a+b@localhost", 587, "a+b@localhost"),
        ("smtps://mail/?from=a@b.example", 465, "a@b.example"),
        ("smtps://[::1]:2465?from=a@b.example", 2465, "a@b.example"),
    ],
)
def test_mail_needs_no_credentials_and_knows_its_ports(given: str, port: int, sender: str) -> None:
    found = mail_address(NAME, given, public_host="hooks.example.org")

    assert (found.port, found.sender, found.user, found.password) == (port, sender, None, None)


@pytest.mark.parametrize(
    "options",
    [
        "from=a@b.example&hello=mx.b.example",
        "hello=mx.b.example&from=a@b.example",
        "hello=mx%2Eb.example&from=%61%40b.example",
    ],
)
def test_mail_says_the_name_it_is_given_in_any_order(options: str) -> None:
    found = mail_address(NAME, f"smtp://mail?{options}", public_host="hooks.example.org")

    assert (found.sender, found.hello) == ("a@b.example", "mx.b.example")


@pytest.mark.parametrize(
    ("public_host", "sender", "hello"),
    [
        ("hooks.example.org", "a@b.example", "hooks.example.org"),
        ("localhost", "a@b.example", "b.example"),
        ("127.0.0.1", "a@b.example", "b.example"),
        ("::1", "a@b.example", "b.example"),
        ("my_host.example", "a@b.example", "b.example"),
        ("localhost", "a@b", "localhost"),
        ("127.0.0.1", "a@b", "b"),
        ("127.0.0.1", "a@b%C3%BCcher.example", "xn--bcher-kva.example"),
    ],
)
def test_mail_says_a_name_with_a_dot_where_there_is_one_and_never_a_literal(
    public_host: str, sender: str, hello: str
) -> None:
    assert mail_address(NAME, f"smtp://mail?from={sender}", public_host=public_host).hello == hello


def test_printing_mail_is_for_a_loopback_url_only() -> None:
    assert mail_address(NAME, "console:", public_host="localhost").kind == "console"

    with pytest.raises(ConfigurationError, match="loopback"):
        mail_address(NAME, "console:", public_host="hooks.example.org")


@pytest.mark.parametrize(
    "given",
    [
        "console",
        "smtp://mail",
        "smtp://mail?from=",
        "smtp://mail?from=nobody",
        "smtp://mail?from=A <a@b>",
        "smtp://mail?from=a@b&from=c@d",
        "smtp://mail?from=a@b&hello=x.example&hello=y.example",
        "smtp://mail?hello=x.example",
        "smtp://mail?from=a@b&hello=",
        "smtp://mail?from=a@b&hello=127.0.0.1",
        "smtp://mail?from=a@b&hello=%5B127.0.0.1%5D",
        "smtp://mail?from=a@b&hello=x%20y",
        "smtp://mail?from=a@b&hello=x%0d%0aRSET",
        "smtp://mail?from=a@b&hello",
        "smtp://mail?from=a@b&helo=x.example",
        "smtp://mail?from=a@b&",
        "smtp://mail?from=%3D%3Futf-8%3Fq%3Fe%3D40evil.example%3D3e%3F%3D@corp.example",
        "smtp://mail?from=%22a%22@b.example",
        "smtp://mail?from=a@b_c.example",
        "smtp://mail?from=a@b.example.",
        "smtp://mail?to=a@b",
        "smtp://mail?from=a@b#",
        "smtp://mail/path?from=a@b",
        "smtp://?from=a@b",
        "smtp://user@mail?from=a@b",
        "smtp://:pass@mail?from=a@b",
        "smtp://user:@mail?from=a@b",
        "smtp://us%0aer:pass@mail?from=a@b",
        "smtp://us%ffer:pass@mail?from=a@b",
        "smtp://mail?from=a%0d%0aBcc:x@b",
        "smtp://mail:0?from=a@b",
        "smtp://mail:66666?from=a@b",
        "smtp://user:hun/ter2@mail?from=a@b",
        "smtp+tls://mail?from=a@b",
    ],
)
def test_a_mail_address_of_another_form_is_refused(given: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        mail_address(NAME, given, public_host="localhost")

    assert "ter2" not in str(caught.value)
