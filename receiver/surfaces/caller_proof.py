"""The caller's proof: the second factor of a machine callback, where the operator has set caller secrets.

It is a Standard Webhooks signature whose `webhook-id` says what the signature is for: `KIND_TOKENHASH_NONCE`. So a
signed report for one wait proves nothing at another wait, and a signed failure proves nothing as a success. It refuses
to look into the body: the signature covers the bytes as they came.
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

#: The nonce may hold `_` too; neither of the two parts before it does.
_ID: Final = re.compile(rb"(succeeded|failed)_([0-9a-f]{32})_[A-Za-z0-9_-]{16,64}")


def verify_proof(  # noqa: PLR0913 - what is proved, to whom, by what
    secrets: Sequence[Secret],
    headers: Headers,
    body: bytes,
    *,
    kind: Kind,
    token: str,
    now: Callable[[], float] = time.time,
) -> None:
    """Return if one of `secrets` signed this raw body for this kind of report under this token, now.

    The same request can be proved twice: whoever calls this settles once for other reasons.

    Raises:
        SignatureRefused: in every other case, and nothing else whatever the bytes are.
    """
    signed = verify_standard_webhook(secrets, headers, body, now=now)
    purpose = _ID.fullmatch(signed.identity)

    if purpose is None or purpose.groups() != (kind.encode(), token_hash(token).encode()):
        raise SignatureRefused("the signature is for another report")


def token_hash(token: str) -> str:
    """Return how a `webhook-id` names the token: the first 32 hex digits of the SHA-256 of its text."""
    return hashlib.sha256(token.encode()).hexdigest()[:32]
