"""The caller's proof: the second factor of a machine callback, if the operator has set caller secrets.

It is a Standard Webhooks signature whose `webhook-id` says what the signature is for: `KIND_TOKENHASH_NONCE`. So the
proof of one wait is refused at every other wait, and the proof of a failure is refused for a success. This file
refuses to look into the body: the signature covers the bytes as they were sent.
"""

from __future__ import annotations

import hashlib
import re
import time
from typing import TYPE_CHECKING, Final, Literal

from receiver.senders.schemes.scheme import SignatureRefused
from receiver.senders.schemes.standard import verify_standard_webhook

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchestrator.config.secret import Secret
    from receiver.senders.schemes.scheme import Headers

type Kind = Literal["succeeded", "failed"]

#: The nonce may contain `_` too; the two parts before it do not.
_ID: Final = re.compile(rb"(succeeded|failed)_([0-9a-f]{32})_[A-Za-z0-9_-]{16,64}")


def verify_proof(  # noqa: PLR0913 - what is proved, and with what
    secrets: Sequence[Secret],
    headers: Headers,
    body: bytes,
    *,
    kind: Kind,
    token: str,
    now: Callable[[], float] = time.time,
) -> None:
    """Return if one of `secrets` has just signed this raw body for this kind of report under this token.

    It does not detect a repeated request: the caller must make sure that a wait is settled only once.

    Raises:
        SignatureRefused: in every other case. No input raises anything else.
    """
    signed = verify_standard_webhook(secrets, headers, body, now=now)
    purpose = _ID.fullmatch(signed.identity)

    if purpose is None or purpose.groups() != (kind.encode(), token_hash(token).encode()):
        raise SignatureRefused("the signature is for another report")


def token_hash(token: str) -> str:
    """Return the name of a token in a `webhook-id`: the first 32 hex digits of the SHA-256 of its text."""
    return hashlib.sha256(token.encode()).hexdigest()[:32]
