"""The cipher of promise payloads: AES-256-GCM under a list of keys, bound to the place where a payload belongs.

A payload is `VERSION KEY-ID NONCE CIPHERTEXT` (1, 4, 12 bytes and the rest) with a random nonce (NIST SP 800-38D). The
first five bytes and the place are authenticated too, so a payload that was copied to another place does not open. A key
may encrypt 2**32 payloads.

Version 1 had no place. Its payloads can still be opened, by a separate method; `unbound` decides when they may be. This
module does not know what a place is, and does not hide the length of a payload.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from resonate.error import SerializationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchestrator.config.secret import Secret

_UNBOUND: Final = b"\x01"
_BOUND: Final = b"\x02"
_ID_BYTES: Final = 4
_NONCE_BYTES: Final = 12
_HEADER_BYTES: Final = 1 + _ID_BYTES


class PayloadRefused(SerializationError):
    """None of the keys encrypted this payload for this place."""

    def __init__(self) -> None:
        super().__init__(ValueError("none of the payload keys encrypted this payload for this place"))


class PayloadKeyUnknown(SerializationError):
    """A payload in our format under a key that is not in the list: it was removed, or not added yet."""

    def __init__(self) -> None:
        super().__init__(ValueError("the payload was encrypted with a key that is not among the payload keys"))


class PayloadCipher:
    """Encrypts with the last key and decrypts with any of the keys."""

    def __init__(self, keys: Sequence[Secret], *, random: Callable[[int], bytes] = os.urandom) -> None:
        if not keys:
            raise ValueError("a payload cipher needs at least one key")

        self._random = random
        self._ciphers = {_key_id(key): AESGCM(key.reveal()) for key in keys}
        self._current = _key_id(keys[-1])

    def encrypt(self, data: bytes, place: bytes) -> bytes:
        """Return the payload of these bytes for this place. It is different every time."""
        header = _BOUND + self._current
        nonce = self._random(_NONCE_BYTES)

        return header + nonce + self._ciphers[self._current].encrypt(nonce, data, header + place)

    def decrypt(self, payload: bytes, place: bytes) -> bytes:
        """Return the bytes of a payload that was encrypted for this place.

        Raises:
            PayloadKeyUnknown: the payload is in our format, under a key that is not in the list.
            PayloadRefused: it is not in our format, was changed, or was encrypted for another place.
        """
        return self._decrypt(_BOUND, payload, place)

    def decrypt_unbound(self, payload: bytes) -> bytes:
        """Return the bytes of a payload of version 1, which does not prove the place where it was written.

        Raises:
            PayloadKeyUnknown, PayloadRefused: as for `decrypt`.
        """
        return self._decrypt(_UNBOUND, payload, b"")

    def knows(self, payload: bytes) -> bool:
        """Return whether this is in one of our formats and under a key of the list. It may still fail to open."""
        return payload[:1] in {_UNBOUND, _BOUND} and payload[1:_HEADER_BYTES] in self._ciphers

    def _decrypt(self, version: bytes, payload: bytes, place: bytes) -> bytes:
        header = payload[:_HEADER_BYTES]
        nonce = payload[_HEADER_BYTES : _HEADER_BYTES + _NONCE_BYTES]

        if not header.startswith(version) or len(nonce) < _NONCE_BYTES:
            raise PayloadRefused

        cipher = self._ciphers.get(header[len(version) :])

        if cipher is None:
            raise PayloadKeyUnknown

        try:
            return cipher.decrypt(nonce, payload[_HEADER_BYTES + _NONCE_BYTES :], header + place)
        except InvalidTag:
            raise PayloadRefused from None


def is_unbound(payload: bytes) -> bool:
    """Return whether this claims to be a payload of version 1."""
    return payload.startswith(_UNBOUND)


def _key_id(key: Secret) -> bytes:
    return hashlib.sha256(b"countersign.payload-key\0" + key.reveal()).digest()[:_ID_BYTES]
