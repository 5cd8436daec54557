"""API keys: one header, one key, and the same response to everything else."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config.keys import ApiKey
from receiver.http.auth import ApiKeys, NotBearer, bearer_token
from receiver.http.bad_tokens import BadTokens
from receiver.http.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.config.keys import Role


def known(names: Iterable[str], role: Role = "operate") -> dict[str, ApiKey]:
    return {name: ApiKey(digest=hashlib.sha256(f"key-of-{name}".encode()).digest(), role=role) for name in names}


KEYS = ApiKeys(known(["alice", "bob", "carol"]), BadTokens())


@pytest.mark.parametrize("name", ["alice", "bob", "carol"])
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_key_is_known_by_its_name(name: str, scheme: str) -> None:
    assert KEYS.identify([f"{scheme} key-of-{name}"]) == name


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([], id="no header"),
        pytest.param([""], id="empty header"),
        pytest.param(["Bearer"], id="no key"),
        pytest.param(["Bearer "], id="empty key"),
        pytest.param(["Bearer wrong"], id="wrong key"),
        pytest.param(["Bearer key-of-alice2"], id="a longer key"),
        pytest.param(["Bearer key-of-alic"], id="a shorter key"),
        pytest.param(["Bearer KEY-OF-ALICE"], id="another case"),
        pytest.param(["Basic key-of-alice"], id="another scheme"),
        pytest.param(["key-of-alice"], id="no scheme"),
        pytest.param(["Bearer key-of-alice key-of-bob"], id="two words"),
        pytest.param(["Bearer key-of-alice, Bearer key-of-bob"], id="two in one"),
        pytest.param(["Bearer key-of-alice", "Bearer key-of-alice"], id="repeated header"),
        pytest.param(["Bearer key-of-alice", ""], id="repeated header, one empty"),
        pytest.param(["Bearer key-of-\xe4lice"], id="not ASCII"),
        pytest.param(["Bearer key-of-alice\x00"], id="control character"),
        pytest.param(["Bearer\tkey-of-alice"], id="tab"),
        pytest.param([f"Bearer {hashlib.sha256(b'key-of-alice').hexdigest()}"], id="the digest itself"),
    ],
)
def test_everything_else_is_the_same_401(values: list[str]) -> None:
    with pytest.raises(Problem) as refused:
        KEYS.identify(values)

    assert refused.value.document() == Problem("unauthorized").document()
    assert refused.value.status == 401


def test_without_keys_nobody_is_let_in() -> None:
    for values in ([], ["Bearer "], ["Bearer anything"]):
        with pytest.raises(Problem, match="unauthorized"):
            ApiKeys({}, BadTokens()).identify(values)


def test_the_digest_of_nothing_lets_nobody_in_without_a_key() -> None:
    keys = ApiKeys({"empty": ApiKey(digest=hashlib.sha256(b"").digest())}, BadTokens())

    for values in ([], ["Bearer "], ["Bearer"]):
        with pytest.raises(Problem, match="unauthorized"):
            keys.identify(values)


def test_the_keys_do_not_print_their_digests() -> None:
    assert repr(KEYS) == "ApiKeys(alice, bob, carol)"


def test_no_header_is_no_token() -> None:
    assert bearer_token([]) is None


def test_the_token_is_the_word_after_the_scheme() -> None:
    assert bearer_token(["bEaReR  abc.DEF_-~+/= "]) == "abc.DEF_-~+/="


# A refusal is one of these sentences, so it repeats nothing. Looking for the value in the refusal would prove less, and
# would sometimes fail: a generated value may be a word of the sentence, such as "Authorization".
REFUSALS = {
    "the Authorization header is repeated",
    "the Authorization header is not a bearer token",
    "the bearer token is not one word of visible ASCII",
}


@given(st.lists(st.text(st.characters(max_codepoint=255)) | st.text().map("Bearer {}".format), max_size=3))
def test_any_header_is_a_token_in_visible_ascii_or_refused(values: list[str]) -> None:
    try:
        token = bearer_token(values)
    except NotBearer as error:
        assert str(error) in REFUSALS  # noqa: PT017 the text is the point
    else:
        assert (token is None) == (not values)
        assert token is None or (token.isascii() and token.isprintable() and " " not in token and token)
