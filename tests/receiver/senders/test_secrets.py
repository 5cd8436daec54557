"""Secrets of senders: read from where the file says; refused if they are weak, shared or our own; never shown."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.configuration import fresh_key
from support.senders import whsec
from support.sources import HUB, load, one, refused

if TYPE_CHECKING:
    pass


def test_a_secret_is_read_from_the_environment_the_env_file_or_a_file(tmp_path: Path) -> None:
    secret, other = secrets.token_hex(20), secrets.token_hex(20)
    (tmp_path / ".env").write_text(f"OF_FILE={secret}\n")
    (tmp_path / "a.secret").write_text(f"{other}\n")
    text = '[sources.hub]\nscheme = "github"\nsecrets = ["env:OF_FILE", "file:a.secret", "env:HUB"]'

    assert [key.text() for key in one(load(tmp_path, text, {"HUB": "h" + secret})).scheme.secrets] == [  # type: ignore[attr-defined]
        secret,
        other,
        "h" + secret,
    ]


@pytest.mark.parametrize("reference", ["", "HUB", "env:", "env:A B", "ENV:HUB", "file:", "vault:x", "file:a\\u0000b"])
def test_a_secret_in_the_clear_or_from_elsewhere_is_refused_and_not_repeated(tmp_path: Path, reference: str) -> None:
    error = refused(tmp_path, f'[sources.hub]\nscheme = "github"\nsecrets = ["{reference}"]')

    assert error.variable == "COUNTERSIGN_SOURCES"
    assert "neither env:NAME nor file:PATH" in str(error)


@pytest.mark.parametrize("name", ["COUNTERSIGN_SIGNING_KEYS", "COUNTERSIGN_SOURCES"])
def test_a_setting_of_ours_is_no_secret_of_a_sender(tmp_path: Path, name: str) -> None:
    refused(tmp_path, f'[sources.hub]\nscheme = "github"\nsecrets = ["env:{name}"]', {name: secrets.token_hex(20)})


@pytest.mark.parametrize(
    "secret",
    [
        *(
            None,
            "",
            "   ",
            "tiny",
            "a" * 40,
            "0123456789abcdefghij",
            "changeme-changeme-changeme",
            "my-secret-my-secret",
        ),
        *("bell\a" + "b" * 30, "It's a Secret to Everybody", "8f742231b10e8888abcd99yyyzzz85a5"),
    ],
)
def test_a_missing_weak_or_published_secret_names_its_variable_and_not_its_value(
    tmp_path: Path, secret: str | None
) -> None:
    text = '[sources.hub]\nscheme = "github"\nsecrets = ["env:THEIRS"]'
    error = refused(tmp_path, text, {} if secret is None else {"THEIRS": secret})

    assert error.variable == "THEIRS"
    assert secret is None or not secret.strip() or secret not in str(error)


@pytest.mark.parametrize("content", ["", "\n", "short\n", "two\nlines" + "x" * 20, "x" * 5000, "\ufffd" * 20, None])
def test_a_file_without_a_usable_secret_names_the_sources(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "a.secret").write_text(content)

    error = refused(tmp_path, '[sources.hub]\nscheme = "github"\nsecrets = ["file:a.secret"]')

    assert error.variable == "COUNTERSIGN_SOURCES"


@pytest.mark.parametrize(
    ("scheme", "secret"),
    [
        ("standard", "0123456789abcdef0123456789abcdef"),
        ("standard", "whsec_not base64 at all, no"),
        ("standard", "whsec_c2hvcnQ="),
        ("standard", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ("standard", "whsec_plJ3nmyCDGBKInavdOK15jsl"),
        ("stripe", "sk_live_4f9a8c7b6d5e3f2a1b0c"),
        ("stripe", "whsec_x"),
        ("databricks", "f9a8c7b6d5e3f2a1b0c4"),
        ("databricks", ":f9a8c7b6d5e3f2a1b0c4"),
        ("databricks", "user:short"),
        ("databricks", "databricks:password-password"),
    ],
)
def test_a_secret_of_another_shape_than_its_schemes_is_refused(tmp_path: Path, scheme: str, secret: str) -> None:
    error = refused(tmp_path, f'[sources.hub]\nscheme = "{scheme}"\nsecrets = ["env:THEIRS"]', {"THEIRS": secret})

    assert error.variable == "THEIRS"
    assert secret not in str(error)


@pytest.mark.parametrize(("first", "second"), [("github", "shopify"), ("stripe", "standard"), ("standard", "stripe")])
def test_one_secret_in_two_sources_is_refused_also_where_two_schemes_read_it_differently(
    tmp_path: Path, first: str, second: str
) -> None:
    shared = whsec()
    text = "".join(
        f'[sources.{scheme}]\nscheme = "{scheme}"\nsecrets = ["env:{scheme.upper()}"]\n' for scheme in (first, second)
    )

    error = refused(tmp_path, text, {first.upper(): shared, second.upper(): shared})
    assert error.variable == second.upper()
    assert load(tmp_path, text, {first.upper(): shared, second.upper(): whsec()}).get(first) is not None


def test_one_secret_twice_in_a_source_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, '[sources.hub]\nscheme = "github"\nsecrets = ["env:HUB", "env:HUB"]')


@pytest.mark.parametrize("name", ["SIGNING_KEYS", "PAYLOAD_KEYS", "CALLER_SECRETS"])
def test_a_key_of_ours_is_no_secret_of_a_sender(tmp_path: Path, name: str) -> None:
    key = whsec() if name == "CALLER_SECRETS" else fresh_key()

    error = refused(tmp_path, f"[sources.hub]\n{HUB}", {"HUB": key}, **{name: key})
    assert error.variable == "HUB"


def test_a_secret_file_that_was_changed_is_in_use_after_a_reload(tmp_path: Path) -> None:
    (tmp_path / "a.secret").write_text(secrets.token_hex(20))
    sources = load(tmp_path, '[sources.hub]\nscheme = "github"\nsecrets = ["file:a.secret"]')
    (tmp_path / "a.secret").write_text(new := secrets.token_hex(20))

    assert sources.reload()
    assert one(sources).scheme.secrets[0].text() == new  # type: ignore[attr-defined]
