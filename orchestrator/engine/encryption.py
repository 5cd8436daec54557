"""Promise payloads, encrypted and authenticated before they leave the process.

Whoever can write to the promise store could otherwise make a worker run code: the SDK unpickles what a rejected promise
holds. Under this cipher a payload that was not written with one of our keys is refused before anything looks into it.

The format of a payload is `VERSION KEY-ID NONCE CIPHERTEXT` (1, 4, 12 bytes and the rest): AES-256-GCM with a random
nonce (NIST SP 800-38D), the first five bytes authenticated with it. A key may encrypt 2**32 payloads.

It does not hide how long a payload is, nor ids, tags and times; and it does not stop someone with access to the store
from deleting a payload or settling a promise with none at all.
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

    from orchestrator.secret import Secret

_VERSION: Final = b"\x01"
_ID_BYTES: Final = 4
_NONCE_BYTES: Final = 12
_HEADER_BYTES: Final = len(_VERSION) + _ID_BYTES


class PayloadRefused(SerializationError):
    """A payload that none of our keys wrote. The SDK then releases the task instead of running it."""

    def __init__(self) -> None:
        super().__init__(ValueError("the payload was not encrypted with any of the payload keys"))


class PayloadCipher:
    """Encrypts under the last of the keys and decrypts under any of them; an SDK `Encryptor`."""

    def __init__(self, keys: Sequence[Secret], *, random: Callable[[int], bytes] = os.urandom) -> None:
        if not keys:
            msg = "a payload cipher needs at least one key"
            raise ValueError(msg)

        self._random = random
        self._ciphers = {_key_id(key): AESGCM(key.reveal()) for key in keys}
        self._current = _key_id(keys[-1])

    def encrypt(self, data: bytes) -> bytes:
        """Return the payload of these bytes; a different one every time."""
        header = _VERSION + self._current
        nonce = self._random(_NONCE_BYTES)

        return header + nonce + self._ciphers[self._current].encrypt(nonce, data, header)

    def decrypt(self, data: bytes) -> bytes:
        """Return the bytes of a payload.

        Raises:
            PayloadRefused: not a payload of ours, changed since, or of a key that is not in the list any more.
        """
        header = data[:_HEADER_BYTES]
        nonce = data[_HEADER_BYTES : _HEADER_BYTES + _NONCE_BYTES]
        cipher = self._ciphers.get(header[len(_VERSION) :])

        if cipher is None or not header.startswith(_VERSION) or len(nonce) < _NONCE_BYTES:
            raise PayloadRefused

        try:
            return cipher.decrypt(nonce, data[_HEADER_BYTES + _NONCE_BYTES :], header)
        except InvalidTag:
            raise PayloadRefused from None


def _key_id(key: Secret) -> bytes:
    return hashlib.sha256(b"countersign.payload-key\0" + key.reveal()).digest()[:_ID_BYTES]
