"""Addresses of the configuration: what is accepted, and what is refused at the start.

Long because it is made of tables, one for each kind of address.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.config.addresses import engine_address, llm_address, public_url
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
