"""Whether payload keys are the ones that a stored payload was written with."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from resonate.types import Value

    from orchestrator.engine.encryption.cipher import PayloadCipher


def is_readable(param: Value, cipher: PayloadCipher | None) -> bool:
    """Return whether these keys are the right ones for a payload; without a cipher it is readable as it is.

    A payload that was tampered with may pass: its workflow fails on it later. Where there is none, any keys are right.
    """
    if param.data is None:
        return True

    try:
        payload = base64.b64decode(param.data, validate=True)

        if cipher is not None:
            return cipher.knows(payload)

        msgspec.json.decode(payload)
    except (binascii.Error, msgspec.DecodeError):
        return False
    else:
        return True
