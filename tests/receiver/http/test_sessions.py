"""A session is ours, for twelve hours, and for as long as its API key is there."""

from __future__ import annotations

import hashlib
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config.keys import ApiKey, Role
from orchestrator.config.secret import Secret
from receiver.http.auth import ApiKeys
from receiver.http.bad_tokens import BadTokens
from receiver.http.sessions import SECONDS, Sessions

OLD, NEW = Secret(secrets.token_bytes(32)), Secret(secrets.token_bytes(32))
NOW = 1_800_000_000.0


def keys(role: Role = "operate", **names: str) -> ApiKeys:
    held = {name: ApiKey(digest=hashlib.sha256(key.encode()).digest(), role=role) for name, key in names.items()}

    return ApiKeys(held, BadTokens())


def sessions(
    api_keys: ApiKeys, *signing: Secret, url: str = "https://calls.example.org", after: float = 0.0
) -> Sessions:
    return Sessions(signing or (OLD,), api_keys, public_url=url, clock=lambda: NOW + after)


HELD = keys(ada="a", bob="b")
TEXT = sessions(HELD).make("ada")


def test_a_session_says_who_signed_in_and_until_when() -> None:
    session = sessions(HELD).read(TEXT)

    assert session
    assert (session.name, session.role, session.ends_at) == ("ada", "operate", int(NOW) + 12 * 3600)
    assert sessions(HELD).make("ada") != TEXT


def test_it_ends_after_twelve_hours() -> None:
    assert sessions(HELD, after=SECONDS - 1).read(TEXT)
    assert sessions(HELD, after=SECONDS).read(TEXT) is None


@pytest.mark.parametrize("others", [keys(bob="b"), keys(ada="another", bob="b"), keys(), keys(eve="a")])
def test_it_ends_with_its_key(others: ApiKeys) -> None:
    assert sessions(others).read(TEXT) is None


def test_the_role_is_that_of_the_key_now() -> None:
    session = sessions(keys("read", ada="a")).read(TEXT)

    assert session
    assert session.role == "read"


def test_signing_keys_are_rotated_as_for_tokens() -> None:
    assert sessions(HELD, OLD, NEW).read(TEXT)
    assert sessions(HELD, OLD).read(sessions(HELD, OLD, NEW).make("ada")) is None
    assert sessions(HELD, NEW).read(TEXT) is None


def test_the_form_of_a_session_never_changes_and_it_is_signed_under_a_key_of_its_own() -> None:
    text = (
        "ada~1800043200~00000000000000000000000000000000~"
        "37741c78b7ded4e898eb8dace1ea0200596ee52ae9cb12d8ec110ccf0c7d5315"
    )

    assert sessions(HELD, Secret(bytes(range(32)))).read(text)


@pytest.mark.parametrize("part", range(4))
def test_every_part_of_a_session_is_signed(part: int) -> None:
    twins = keys(ada="a", bob="a")
    parts = sessions(twins).make("ada").split("~")
    parts[part] = ("bob", str(int(NOW) + SECONDS + 1), "0" * 32, "0" * 64)[part]

    assert sessions(twins).read("~".join(parts)) is None


@given(st.data())
def test_no_changed_session_is_accepted(data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(TEXT) - 1))
    other = data.draw(st.characters(codec="utf-8"))
    changed = TEXT[:place] + other + TEXT[place + 1 :]

    assert changed == TEXT or sessions(HELD).read(changed) is None


@given(st.text() | st.from_regex(r"ada~[0-9]+~[0-9a-f]{32}~[0-9a-f]{64}", fullmatch=True))
def test_nothing_made_up_is_accepted(text: str) -> None:
    assert sessions(HELD).read(text) is None


def test_the_session_of_one_key_is_not_one_of_another() -> None:
    name, rest = TEXT.split("~", 1)

    assert name == "ada"
    assert sessions(HELD).read(f"bob~{rest}") is None


@pytest.mark.parametrize(
    ("url", "name", "attributes"),
    [
        (
            "https://calls.example.org",
            "__Secure-countersign-console",
            {"Path=/console", "HttpOnly", "SameSite=Strict", "Secure"},
        ),
        (
            "https://example.org/calls",
            "__Secure-countersign-console",
            {"Path=/calls/console", "HttpOnly", "SameSite=Strict", "Secure"},
        ),
        ("http://127.0.0.1:8000", "countersign-console", {"Path=/console", "HttpOnly", "SameSite=Strict"}),
    ],
)
def test_the_cookie_goes_to_the_console_only_and_on_https_never_without_tls(
    url: str, name: str, attributes: set[str]
) -> None:
    one = sessions(HELD, url=url)
    first, *rest = one.set_cookie("text").split("; ")

    assert (one.cookie, first) == (name, f"{name}=text")
    assert set(rest) == attributes | {"Max-Age=43200"}
    assert one.clear_cookie().startswith(f"{name}=; Max-Age=0; ")
