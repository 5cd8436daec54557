"""Stripe's signatures (https://docs.stripe.com/webhooks/signature): `t=TIMESTAMP,v1=HEX` over `TIMESTAMP.BODY`.

The key is the text of the endpoint secret, including `whsec_`. A Standard Webhooks secret looks the same, but there the
key is what follows the prefix, decoded from base64. No secret is ever tried in both ways.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from receiver.senders.schemes.scheme import (
    MAX_SIGNATURES,
    SignatureRefused,
    Signed,
    check_any,
    check_moment,
    check_text,
    single_headers,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.config.secret import Secret
    from receiver.senders.schemes.scheme import Headers

_HEADER: Final = b"stripe-signature"
_ELEMENT: Final = re.compile(rb"([a-z][a-z0-9]{0,15})=([!-+\--<>-~]{1,512})")
_SIGNATURE: Final = re.compile(rb"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class StripeSignature:
    """Stripe, with an endpoint's secrets: while a secret is rolled, Stripe signs with the old and the new one."""

    secrets: tuple[Secret, ...]
    challenge: str = "Signature"
    timestamped: bool = True

    def verify(self, headers: Headers, body: bytes, *, now: Callable[[], float]) -> Signed:
        """Return what is signed: the timestamp. Only signatures of version v1 are read, as Stripe requires."""
        timestamp, candidates = _read(single_headers(headers, {_HEADER})[_HEADER])
        check_moment(timestamp, now)
        signed = b"%b.%b" % (timestamp, body)
        check_any(
            candidates,
            (hmac.digest(secret.reveal(), signed, hashlib.sha256).hex().encode() for secret in self.secrets),
        )
        check_text(body)

        return Signed(moment=timestamp)


def _read(header: bytes) -> tuple[bytes, list[bytes]]:
    timestamps: list[bytes] = []
    candidates: list[bytes] = []

    for part in header.split(b","):
        element = _ELEMENT.fullmatch(part)

        if element is None:
            raise SignatureRefused("the signature header is malformed")

        if element[1] == b"t":
            timestamps.append(element[2])
        elif element[1] == b"v1":
            candidates.append(element[2])

    if len(timestamps) != 1:
        raise SignatureRefused("the signature header has no timestamp, or several")

    if len(candidates) > MAX_SIGNATURES or not all(_SIGNATURE.fullmatch(one) for one in candidates):
        raise SignatureRefused("the signature header is malformed")

    return timestamps[0], candidates
