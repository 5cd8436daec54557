"""Callback tokens: minted for one wait, refused in every other spelling, shape, key and audience.

Long because it holds the vectors that pin the stored form, beside the tables of refused spellings.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import string
import zlib
from dataclasses import replace

import itsdangerous
import pytest
from hypothesis import given
from hypothesis import strategies as st
from resonate.types import PromiseRecord

from orchestrator.callbacks.claims import Claims, TokenExpired, TokenInvalid
from orchestrator.callbacks.tokens import MAX_TOKEN_LENGTH, TokenSigner
from orchestrator.config.secret import Secret
from orchestrator.durable.opened_at import MARK

OLD, NEW, FOREIGN = (Secret(bytes([n]) + b"-key-of-the-token-tests-32-bytes") for n in (1, 2, 3))
NOW = 1_800_000_000.0
ALPHABET = string.ascii_letters + string.digits + "-_"

CLAIMS = Claims(
    promise_id="databricks_pipeline.42:1",
    callback="run-1",
    audience="machine",
    subject="job 7",
    outcomes=("succeeded", "failed"),
    expires_at=int(NOW) + 60,
    opened_at=1_799_999_000_123,
)
QUESTION = Claims(
    promise_id="approve_and_ship.7:1",
    callback="approval",
    audience="approver",
    subject="ada@example.org",
    outcomes=("approve", "reject"),
    expires_at=int(NOW) + 60,
    opened_at=1_799_999_000_123,
    question="approve_and_ship.7:1",
    digest="ab" * 32,
)


def signer(*keys: Secret, now: float = NOW) -> TokenSigner:
    return TokenSigner(keys or (NEW,), clock=lambda: now)


TOKEN = signer().mint(CLAIMS)


def signed_elsewhere(document: bytes, **changes: object) -> str:
    """Return a token that itsdangerous makes with our key and salt, but for the changes."""
    options: dict[str, object] = {
        "secret_key": NEW.reveal(),
        "salt": "countersign.callback.v2.machine",
        "key_derivation": "hmac",
        "digest_method": hashlib.sha256,
    }
    payload = base64.urlsafe_b64encode(document).rstrip(b"=")
    return itsdangerous.Signer(**(options | changes)).sign(payload).decode()  # type: ignore[arg-type]


DOCUMENT = base64.urlsafe_b64decode(TOKEN.partition(".")[0] + "==")


def test_a_minted_token_gives_back_its_claims() -> None:
    assert signer().verify(TOKEN, audience="machine") == CLAIMS


def test_an_approver_token_carries_its_question_and_digest() -> None:
    token = signer().mint(QUESTION)

    assert signer().verify(token, audience="approver") == QUESTION


def test_the_same_wait_gives_the_same_token() -> None:
    assert signer().mint(CLAIMS) == signer().mint(CLAIMS) == TOKEN


def test_the_format_is_pinned_by_a_literal() -> None:
    assert DOCUMENT == (
        b'{"a":"machine","c":"run-1","o":["succeeded","failed"],"p":"databricks_pipeline.42:1",'
        b'"s":"job 7","v":2,"w":1799999000123,"x":1800000060}'
    )
    assert TOKEN.partition(".")[2] == "WWKI_WFPOtKXlXMIUOb-H6dl5-0RkgLNQq5-kJEiEOI"


def test_the_signature_is_plain_hmac_sha256_under_a_key_derived_by_hmac_sha256() -> None:
    payload, _, signature = TOKEN.encode().partition(b".")
    key = hmac.digest(NEW.reveal(), b"countersign.callback.v2.machine", "sha256")

    assert base64.urlsafe_b64encode(hmac.digest(key, payload, "sha256")).rstrip(b"=") == signature


def test_what_itsdangerous_signs_with_our_salt_and_key_is_what_we_sign() -> None:
    assert signed_elsewhere(DOCUMENT) == TOKEN


@pytest.mark.parametrize(
    "changes",
    [
        {"secret_key": FOREIGN.reveal()},
        {"salt": "countersign.callback.v1.machine"},
        {"salt": "countersign.callback.v3.machine"},
        {"salt": "countersign.callback.v2.approver"},
        {"salt": b"itsdangerous.Signer"},
        {"digest_method": hashlib.sha1},
        {"digest_method": hashlib.sha512},
        {"key_derivation": "django-concat"},
        {"key_derivation": "none"},
        {"sep": ":"},
    ],
    ids=str,
)
def test_a_token_signed_in_any_other_way_is_invalid(changes: dict[str, object]) -> None:
    with pytest.raises(TokenInvalid):
        signer().verify(signed_elsewhere(DOCUMENT, **changes), audience="machine")


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff",
        DOCUMENT[:-1],
        DOCUMENT.replace(b'"p":', b'"pp":'),
        *(
            json.dumps(json.loads(DOCUMENT) | {name: value}).encode()
            for name in "vpcasoxwqd"
            for value in ([7], {"a": 1}, 1.5, True)
        ),
    ],
)
def test_claims_of_another_shape_are_invalid_even_when_they_are_signed(document: bytes) -> None:
    with pytest.raises(TokenInvalid):
        signer().verify(signed_elsewhere(document), audience="machine")


def test_claims_that_a_later_release_has_added_do_no_harm() -> None:
    later = json.dumps(json.loads(DOCUMENT) | {"z": [1, {"a": None}]}, sort_keys=True, separators=(",", ":")).encode()

    assert signer().verify(signed_elsewhere(later), audience="machine") == CLAIMS


@pytest.mark.parametrize("serializer", [itsdangerous.URLSafeSerializer, itsdangerous.URLSafeTimedSerializer])
def test_the_library_defaults_sign_nothing_for_us(serializer: type[itsdangerous.URLSafeSerializer]) -> None:
    token = serializer(NEW.reveal()).dumps(json.loads(DOCUMENT))

    with pytest.raises(TokenInvalid):
        signer().verify(str(token), audience="machine")


def test_a_token_for_another_audience_is_invalid() -> None:
    with pytest.raises(TokenInvalid):
        signer().verify(TOKEN, audience="approver")


def test_a_compressed_token_is_invalid() -> None:
    packed = b"." + base64.urlsafe_b64encode(zlib.compress(DOCUMENT)).rstrip(b"=")
    token = itsdangerous.Signer(
        NEW.reveal(), salt="countersign.callback.v2.machine", key_derivation="hmac", digest_method=hashlib.sha256
    ).sign(packed)

    with pytest.raises(TokenInvalid):
        signer().verify(token.decode(), audience="machine")


@pytest.mark.parametrize("place", range(len(TOKEN)))
def test_a_token_changed_at_any_one_place_is_invalid(place: int) -> None:
    for other in [*ALPHABET, ".", "=", "%"]:
        if other != TOKEN[place]:
            with pytest.raises(TokenInvalid):
                signer().verify(TOKEN[:place] + other + TOKEN[place + 1 :], audience="machine")


@pytest.mark.parametrize("length", range(0, len(TOKEN), 7))
def test_a_truncated_token_is_invalid(length: int) -> None:
    with pytest.raises(TokenInvalid):
        signer().verify(TOKEN[:length], audience="machine")


def other_spellings() -> list[str]:
    payload, _, signature = TOKEN.partition(".")
    last = ALPHABET_ORDER.index(signature[-1])
    slack = signature[:-1] + ALPHABET_ORDER[last ^ 1]

    return [
        f" {TOKEN}", f"{TOKEN} ", f"{TOKEN}\n", f"{TOKEN}=", f"{payload}=.{signature}", f"{payload}.{signature}=",
        f"{payload}..{signature}", f".{TOKEN}", f"{TOKEN}.", f"{payload}.{slack}", TOKEN.upper(), TOKEN.lower(),
        TOKEN.replace("-", "+").replace("_", "/") + "+", f"{TOKEN}\0", "\ufeff" + TOKEN, f"{payload}\u2024{signature}",
    ]  # fmt: skip


ALPHABET_ORDER = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"


@pytest.mark.parametrize("spelling", other_spellings())
def test_another_spelling_of_a_token_is_invalid(spelling: str) -> None:
    with pytest.raises(TokenInvalid):
        signer().verify(spelling, audience="machine")


def test_a_payload_spelled_with_other_slack_bits_is_invalid_even_when_it_is_signed() -> None:
    # Two slack bits need a payload whose length is not a multiple of three.
    document = DOCUMENT + b" " * (1 if len(DOCUMENT) % 3 == 0 else 0)
    payload = base64.urlsafe_b64encode(document).rstrip(b"=").decode()
    other = payload[:-1] + ALPHABET_ORDER[ALPHABET_ORDER.index(payload[-1]) | 1]
    assert other != payload
    assert base64.urlsafe_b64decode(other + "==") == document
    token = itsdangerous.Signer(
        NEW.reveal(), salt="countersign.callback.v2.machine", key_derivation="hmac", digest_method=hashlib.sha256
    ).sign(other)

    with pytest.raises(TokenInvalid):
        signer().verify(token.decode(), audience="machine")


@given(st.text(max_size=300))
def test_no_text_whatever_raises_anything_but_invalid(text: str) -> None:
    with pytest.raises(TokenInvalid):
        signer().verify(text, audience="machine")


@given(st.binary(max_size=200), st.binary(min_size=32, max_size=32))
def test_no_bytes_in_the_shape_of_a_token_are_taken(payload: bytes, signature: bytes) -> None:
    token = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (payload, signature))

    with pytest.raises(TokenInvalid):
        signer().verify(token, audience="machine")


def test_a_token_too_long_to_be_ours_is_not_looked_at() -> None:
    with pytest.raises(TokenInvalid):
        signer().verify("A" * MAX_TOKEN_LENGTH + TOKEN, audience="machine")


def test_a_token_is_good_up_to_its_expiry_and_expired_after_it() -> None:
    assert signer(now=CLAIMS.expires_at).verify(TOKEN, audience="machine") == CLAIMS

    with pytest.raises(TokenExpired) as caught:
        signer(now=CLAIMS.expires_at + 1).verify(TOKEN, audience="machine")

    assert caught.value.claims == CLAIMS


def test_the_claims_of_an_expired_token_can_be_read_on_request() -> None:
    for now, expired in ((CLAIMS.expires_at, False), (CLAIMS.expires_at + 1, True)):
        presented = signer(now=now).verify_even_expired(TOKEN, audience="machine")
        assert (presented.claims, presented.expired) == (CLAIMS, expired)

    with pytest.raises(TokenInvalid):
        signer(now=CLAIMS.expires_at + 1).verify_even_expired(TOKEN, audience="approver")


def test_an_expired_forgery_is_invalid_not_expired() -> None:
    with pytest.raises(TokenInvalid):
        signer(now=NOW + 10**6).verify(signed_elsewhere(DOCUMENT, secret_key=FOREIGN.reveal()), audience="machine")


def test_a_token_from_a_clock_that_is_ahead_is_good() -> None:
    assert signer(now=NOW - 10**6).verify(TOKEN, audience="machine") == CLAIMS


def test_a_rotated_key_still_opens_links_while_it_is_in_the_list() -> None:
    token = signer(OLD).mint(CLAIMS)

    assert signer(OLD, NEW).verify(token, audience="machine") == CLAIMS

    with pytest.raises(TokenInvalid):
        signer(NEW).verify(token, audience="machine")


def test_the_last_key_signs() -> None:
    assert signer(OLD, NEW).mint(CLAIMS) == signer(NEW).mint(CLAIMS)


def test_no_error_holds_the_presented_token() -> None:
    forged = TOKEN[:-2] + "AA"

    with pytest.raises(TokenInvalid) as caught:
        signer().verify(forged, audience="machine")

    assert forged not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_the_derived_ikey_depends_on_who_answers_what_and_not_on_key_or_expiry() -> None:
    others = [
        replace(CLAIMS, promise_id="databricks_pipeline.42:2"),
        replace(CLAIMS, opened_at=1_799_999_000_124),
        replace(CLAIMS, opened_at=None),
    ]

    assert replace(CLAIMS, expires_at=CLAIMS.expires_at + 1).ikey == CLAIMS.ikey
    assert len({CLAIMS.ikey, *(other.ikey for other in others)}) == 4


def record_of(claims: Claims, *, opened_at: int, marked: bool = True, promise_id: str | None = None) -> PromiseRecord:
    return PromiseRecord(
        id=promise_id or claims.promise_id,
        state="pending",
        timeout_at=claims.expires_at * 1000,
        created_at=opened_at,
        tags={"resonate:scope": "global", **(MARK if marked else {})},
    )


def test_a_token_is_for_the_wait_that_was_opened_at_its_moment_and_no_other() -> None:
    opened_at = CLAIMS.opened_at or 0

    assert CLAIMS.is_for(record_of(CLAIMS, opened_at=opened_at))
    assert not CLAIMS.is_for(record_of(CLAIMS, opened_at=opened_at + 1))
    assert not CLAIMS.is_for(record_of(CLAIMS, opened_at=opened_at - 1))
    assert not CLAIMS.is_for(record_of(CLAIMS, opened_at=opened_at, promise_id="databricks_pipeline.42:2"))
    assert not CLAIMS.is_for(record_of(CLAIMS, opened_at=opened_at, marked=False))


# -- the format before ---------------------------------------------------------

#: Minted by the release that knew version 1 alone.
OLD_MACHINE = (
    "eyJhIjoibWFjaGluZSIsImMiOiJydW4tMSIsIm8iOlsic3VjY2VlZGVkIiwiZmFpbGVkIl0sInAiOiJkYXRhYnJpY2tzX3BpcGVsaW5lLjQyOjEiLC"
    "JzIjoiam9iIDciLCJ2IjoxLCJ4IjoxODAwMDAwMDYwfQ.tOnrU4_l89MgFljhQJieyS6m68fLAYD9S1SI5BgfxT8"
)
OLD_MACHINE_OF_THE_OLD_KEY = OLD_MACHINE.partition(".")[0] + ".dok1jeboPN8ZJkeguNIKvxiVvEd3kNYkNsi_sLQq5Ho"
OLD_APPROVER = (
    "eyJhIjoiYXBwcm92ZXIiLCJjIjoiYXBwcm92YWwiLCJkIjoiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYW"
    "JhYmFiYWJhYmFiYWJhYiIsIm8iOlsiYXBwcm92ZSIsInJlamVjdCJdLCJwIjoiYXBwcm92ZV9hbmRfc2hpcC43OjEiLCJxIjoiYXBwcm92ZV9hbmRf"
    "c2hpcC43OjEiLCJzIjoiYWRhQGV4YW1wbGUub3JnIiwidiI6MSwieCI6MTgwMDAwMDA2MH0.EsNEdDvmiK4CzaJto7ZGuEqSSkCAGQJsZzCYcKPrNeQ"
)
OLD_IKEY = "claims:6a914d0b3bfd1b989b946a7de7ba69063d96ac63a802131c6892a5753be5b3ec"


def test_a_token_of_the_format_before_gives_back_its_claims() -> None:
    assert signer().verify(OLD_MACHINE, audience="machine") == replace(CLAIMS, opened_at=None)
    assert signer().verify(OLD_APPROVER, audience="approver") == replace(QUESTION, opened_at=None)
    assert signer(OLD, NEW).verify(OLD_MACHINE_OF_THE_OLD_KEY, audience="machine") == replace(CLAIMS, opened_at=None)


def test_a_wait_of_the_format_before_keeps_its_link_and_its_ikey() -> None:
    assert signer().mint(replace(CLAIMS, opened_at=None)) == OLD_MACHINE
    assert signer().mint(replace(QUESTION, opened_at=None)) == OLD_APPROVER
    assert replace(CLAIMS, opened_at=None).ikey == OLD_IKEY


def test_a_token_of_the_format_before_is_for_a_wait_that_was_opened_before_and_for_no_later_one() -> None:
    claims = signer().verify(OLD_MACHINE, audience="machine")

    assert claims.is_for(record_of(claims, opened_at=5, marked=False))
    assert not claims.is_for(record_of(claims, opened_at=5))
    assert not claims.is_for(record_of(claims, opened_at=0))


@pytest.mark.parametrize("place", range(len(OLD_MACHINE)))
def test_a_token_of_the_format_before_changed_at_any_one_place_is_invalid(place: int) -> None:
    for other in [*ALPHABET, ".", "=", "%"]:
        if other != OLD_MACHINE[place]:
            with pytest.raises(TokenInvalid):
                signer().verify(OLD_MACHINE[:place] + other + OLD_MACHINE[place + 1 :], audience="machine")


def test_a_version_is_good_under_its_own_salt_only() -> None:
    old = base64.urlsafe_b64decode(OLD_MACHINE.partition(".")[0] + "==")
    crossed = [
        signed_elsewhere(old),
        signed_elsewhere(DOCUMENT, salt="countersign.callback.v1.machine"),
        # Our key and salt, but the claims of the other version under either number.
        signed_elsewhere(old.replace(b'"v":1', b'"v":2')),
        signed_elsewhere(DOCUMENT.replace(b'"v":2', b'"v":1'), salt="countersign.callback.v1.machine"),
    ]

    for token in crossed:
        with pytest.raises(TokenInvalid):
            signer().verify(token, audience="machine")

    with pytest.raises(TokenInvalid):
        signer().verify(OLD_MACHINE, audience="approver")


def test_claims_too_long_for_any_verifier_are_not_minted() -> None:
    with pytest.raises(ValueError, match="longer than"):
        signer().mint(Claims(**(vars(CLAIMS) | {"subject": "x" * MAX_TOKEN_LENGTH})))
