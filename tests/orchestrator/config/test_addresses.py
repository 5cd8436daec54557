"""Addresses of the configuration: what is taken, and what is refused before anything is waited for.

Long because it is made of tables, one for each kind of address.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.config.addresses import (
    engine_address,
    is_host,
    is_loopback,
    llm_address,
    mail_address,
    public_url,
)
from orchestrator.errors import ConfigurationError

NAME = "COUNTERSIGN_X"
HERE = Path("/srv/app")


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("https://hooks.example.org", "https://hooks.example.org"),
        ("https://hooks.example.org/", "https://hooks.example.org"),
        ("HTTPS://Hooks.Example.ORG:8443/Sub/path/", "https://hooks.example.org:8443/Sub/path"),
        ("https://192.0.2.1", "https://192.0.2.1"),
        ("https://[2001:db8::1]:443/a%20b", "https://[2001:db8::1]:443/a%20b"),
        ("http://localhost:8000", "http://localhost:8000"),
        ("http://127.1.2.3", "http://127.1.2.3"),
        ("http://[::1]:8000/", "http://[::1]:8000"),
        ("https://my_host", "https://my_host"),
    ],
)
def test_a_public_url_is_normalised(given: str, found: str) -> None:
    assert public_url(NAME, given) == found


@pytest.mark.parametrize(
    "given",
    [
        "hooks.example.org",
        "//hooks.example.org",
        "https:hooks.example.org",
        "https://",
        "https:///path",
        "ftp://hooks.example.org",
        "javascript:alert(1)",
        "http://hooks.example.org",
        "http://localhost.example.org",
        "http://127.0.0.1.example.org",
        "http://10.0.0.1",
        "http://0.0.0.0",
        "http://[::ffff:127.0.0.1]",
        "http://[::2]",
        "https://user@hooks.example.org",
        "https://user:pass@hooks.example.org",
        "https://@hooks.example.org",
        "https://hooks.example.org?a=b",
        "https://hooks.example.org?",
        "https://hooks.example.org#a",
        "https://hooks.example.org/#",
        "https://hooks.example.org:0",
        "https://hooks.example.org:65536",
        "https://hooks.example.org:x",
        "https://hooks.example.org:",
        "https://hooks..example.org",
        "https://-hooks.example.org",
        "https://hooks.example.org.",
        "https://127.1",
        "https://0x7f.1",
        "https://[::1",
        "https://[fe80::1%25eth0]",
        "https://hooks.example.org/a//b",
        "https://hooks.example.org/../b",
        "https://hooks.example.org/a/./b",
        "https://hooks.example.org/a/%2e%2E/b",
        "https://hooks.example.org/.%2e",
        "https://hooks.example.org/%zz",
        "https://hooks.example.org/ä",
        "https://bücher.example",
        "https://hooks.example.org/a b",
        "https://hooks.example.org\\evil.example",
        "https://hooks.example.org/<a>",
    ],
)
def test_a_public_url_that_would_make_bad_links_is_refused(given: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{NAME} must ") as caught:
        public_url(NAME, given)

    assert given not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("sqlite:///.countersign/engine.db", "/srv/app/.countersign/engine.db"),
        ("sqlite:///../engine.db", "/srv/app/../engine.db"),
        ("sqlite:////var/lib/a b.db", "/var/lib/a b.db"),
    ],
)
def test_an_embedded_engine_has_a_path_relative_to_the_directory_or_absolute(given: str, path: str) -> None:
    found = engine_address(NAME, given, HERE)

    assert (found.kind, found.path, found.display) == ("embedded", Path(path), f"sqlite:///{path}")


@pytest.mark.parametrize(
    ("given", "kind", "display"),
    [
        ("memory://", "memory", "memory://"),
        ("http://resonate:8001", "server", "http://resonate:8001"),
        ("https://Resonate.example.org/", "server", "https://resonate.example.org"),
        ("postgresql://user:hunter2@db:5432/name", "postgres", "postgresql://db:5432/name"),
        ("postgres://user:hunter2@db", "postgres", "postgresql://db"),
        ("postgresql://u:hunt%2Fer2@[::1]:5432,b/name", "postgres", "postgresql://[::1]:5432,b/name"),
        (
            "postgresql:///name?host=/tmp/socket&password=hunter2",
            "postgres",
            "postgresql:///name?host=/tmp/socket",
        ),
        ("postgresql://%2Ftmp%2Fsocket/name", "postgres", "postgresql://%2Ftmp%2Fsocket/name"),
    ],
)
def test_an_engine_is_shown_without_what_is_secret_in_its_address(given: str, kind: str, display: str) -> None:
    found = engine_address(NAME, given, HERE)

    assert (found.kind, found.path, found.display) == (kind, None, display)
    assert "hunter2" not in repr(found)


@pytest.mark.parametrize(
    "given",
    [
        "",
        "engine.db",
        "memory",
        "memory:///",
        "sqlite:///",
        "sqlite://engine.db",
        "sqlite:engine.db",
        "sqlite:///:memory:",
        "sqlite:///~/engine.db",
        "sqlite:///dir/",
        "sqlite:///dir/..",
        "sqlite:///a.db?mode=ro",
        "mysql://db/name",
        "http://",
        "http://user:hunter2@resonate:8001",
        "http://resonate:8001/api",
        "http://resonate:8001?x=1",
        "http://resonate:0",
        "postgresql://",
        "postgresql:name",
        "postgresql://db:port/name",
        "postgresql://u:hun/ter2@db/name",
        "postgresql://u:hun?ter2@db/name",
        "postgresql://u:hun#ter2@db/name",
        "postgresql://u:hun@ter2@db/name",
        "postgresql://u:12/34@db/name",
        "postgresql://db/name#x",
    ],
)
def test_an_engine_address_of_another_form_is_refused_and_not_quoted(given: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        engine_address(NAME, given, HERE)

    assert "ter2" not in str(caught.value)


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


def test_a_model_api_is_named_with_its_model_and_stays_masked() -> None:
    found = llm_address(NAME, "https://key@api.example.org/v1?model=small:7b")

    assert found.text() == "https://key@api.example.org/v1?model=small:7b"
    assert "key" not in repr(found)


@pytest.mark.parametrize(
    "given", ["https://api.example.org/v1", "https://a/v1?model=", "https://a//v1?model=x", "a?model=x"]
)
def test_a_model_api_of_another_form_is_refused(given: str) -> None:
    with pytest.raises(ConfigurationError):
        llm_address(NAME, given)


def test_loopback_is_by_address_and_one_name() -> None:
    assert all(is_loopback(host) for host in ("localhost", "127.0.0.1", "127.255.255.254", "::1"))
    assert not any(is_loopback(host) for host in ("", "localhost.", "0.0.0.0", "::", "::ffff:127.0.0.1", "example.org"))


def test_a_host_is_a_name_or_an_address() -> None:
    assert all(is_host(host) for host in ("a", "a-b.c_d", "10.0.0.1", "::", "a." * 126 + "a"))
    assert not any(is_host(host) for host in ("", "a b", "a..b", "1.2.3", "10", "[::1]", "fe80::1%1", "a." * 127 + "a"))
