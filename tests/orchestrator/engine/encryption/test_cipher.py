"""Without one of the keys, promise payloads cannot be read, forged or moved."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from resonate.error import ResonateError

from orchestrator.config.secret import Secret
from orchestrator.engine.encryption.cipher import PayloadCipher, PayloadKeyUnknown, PayloadRefused, is_unbound

OLD, NEW, FOREIGN = (Secret(bytes([n]) * 31 + b"k") for n in (1, 2, 3))
CIPHER = PayloadCipher([OLD, NEW])
HERE, THERE = b"here", b"there"

#: A payload from before payloads were bound to a place, under `OLD`, with a nonce of zeros.
UNBOUND = bytes.fromhex(
    "010354c4c90000000000000000000000004cf397cbcbcfcbe05943f386c915d6338d0ec66ee1134bd25365de319559"
)


@given(st.binary(max_size=2000), st.binary(max_size=100))
def test_a_payload_gives_back_its_bytes_at_its_place(data: bytes, place: bytes) -> None:
    assert CIPHER.decrypt(CIPHER.encrypt(data, place), place) == data


def test_a_payload_hides_its_content_and_is_different_every_time() -> None:
    payload = CIPHER.encrypt(b"customer data", HERE)

    assert b"customer" not in payload
    assert payload != CIPHER.encrypt(b"customer data", HERE)


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_a_payload_opens_nowhere_else(here: bytes, there: bytes) -> None:
    payload = CIPHER.encrypt(b"x", here)

    if here != there:
        with pytest.raises(PayloadRefused):
            CIPHER.decrypt(payload, there)


def test_every_key_in_the_list_reads_and_the_last_one_writes() -> None:
    assert CIPHER.decrypt(PayloadCipher([OLD]).encrypt(b"x", HERE), HERE) == b"x"
    assert PayloadCipher([NEW]).decrypt(CIPHER.encrypt(b"x", HERE), HERE) == b"x"


def test_a_payload_under_an_unknown_key_and_a_changed_one_raise_different_errors() -> None:
    payload = CIPHER.encrypt(b"x", HERE)

    with pytest.raises(PayloadKeyUnknown):
        PayloadCipher([FOREIGN]).decrypt(payload, HERE)

    assert CIPHER.knows(payload)
    assert not PayloadCipher([FOREIGN]).knows(payload)


def test_a_change_of_any_byte_is_refused() -> None:
    payload = CIPHER.encrypt(b"some payload", HERE)

    for place in range(len(payload)):
        changed = bytearray(payload)
        changed[place] ^= 1

        with pytest.raises((PayloadRefused, PayloadKeyUnknown)):
            CIPHER.decrypt(bytes(changed), HERE)


@given(st.binary(max_size=80))
def test_bytes_that_nobody_encrypted_are_refused(data: bytes) -> None:
    with pytest.raises((PayloadRefused, PayloadKeyUnknown)):
        CIPHER.decrypt(data, HERE)


def test_a_readable_payload_is_refused_under_a_cipher() -> None:
    with pytest.raises(PayloadRefused):
        CIPHER.decrypt(b'{"__py_pickle": "gASV"}', HERE)


def test_a_payload_without_a_place_opens_only_by_its_own_method() -> None:
    assert is_unbound(UNBOUND)
    assert CIPHER.decrypt_unbound(UNBOUND) == b"an old payload"

    with pytest.raises(PayloadRefused):
        CIPHER.decrypt(UNBOUND, b"")

    with pytest.raises(PayloadRefused):
        CIPHER.decrypt_unbound(CIPHER.encrypt(b"x", b""))


@pytest.mark.parametrize("error", [PayloadRefused(), PayloadKeyUnknown()])
def test_the_sdk_treats_a_refusal_as_its_own_error_and_releases_the_task(error: Exception) -> None:
    assert isinstance(error, ResonateError)
