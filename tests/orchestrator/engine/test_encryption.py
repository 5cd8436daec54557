"""Promise payloads: unreadable and unforgeable without one of the keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from resonate.codec import Codec
from resonate.error import ResonateError
from resonate.types import Value

from orchestrator.engine.encryption import PayloadCipher, PayloadRefused
from orchestrator.secret import Secret

OLD, NEW, FOREIGN = (Secret(bytes([n]) * 31 + b"k") for n in (1, 2, 3))
CIPHER = PayloadCipher([OLD, NEW])


@given(st.binary(max_size=2000))
def test_a_payload_gives_back_its_bytes(data: bytes) -> None:
    assert CIPHER.decrypt(CIPHER.encrypt(data)) == data


def test_a_payload_does_not_show_what_it_holds_and_is_never_twice_the_same() -> None:
    payload = CIPHER.encrypt(b"customer data")

    assert b"customer" not in payload
    assert payload != CIPHER.encrypt(b"customer data")


def test_every_key_in_the_list_reads_and_the_last_one_writes() -> None:
    assert CIPHER.decrypt(PayloadCipher([OLD]).encrypt(b"x")) == b"x"
    assert PayloadCipher([NEW]).decrypt(CIPHER.encrypt(b"x")) == b"x"


def test_a_key_outside_the_list_reads_nothing() -> None:
    with pytest.raises(PayloadRefused):
        PayloadCipher([FOREIGN]).decrypt(CIPHER.encrypt(b"x"))


def test_a_change_of_any_byte_is_refused() -> None:
    payload = CIPHER.encrypt(b"some payload")

    for place in range(len(payload)):
        changed = bytearray(payload)
        changed[place] ^= 1

        with pytest.raises(PayloadRefused):
            CIPHER.decrypt(bytes(changed))


@given(st.binary(max_size=80))
def test_bytes_that_nobody_encrypted_are_refused(data: bytes) -> None:
    with pytest.raises(PayloadRefused):
        CIPHER.decrypt(data)


def test_a_readable_payload_is_refused_under_a_cipher() -> None:
    with pytest.raises(PayloadRefused):
        CIPHER.decrypt(b'{"__py_pickle": "gASV"}')


def test_the_sdk_takes_a_refusal_for_an_error_of_its_own_and_so_releases_the_task() -> None:
    with pytest.raises(ResonateError):
        Codec(CIPHER).decode(Value(data="e30="))
