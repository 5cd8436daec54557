"""Standard Webhooks (https://www.standardwebhooks.com, version 1.0.0), symmetric signatures only.

The official library parses leniently and raises various errors. Here every header has one spelling, and everything but
a valid signature raises `SignatureRefused`. Asymmetric signatures (`v1a`) are ignored, never accepted.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from receiver.senders.schemes.scheme import (
    MAX_SIGNATURES,
    SignatureRefused,
    SignatureRepeated,
    Signed,
    check_any,
    check_moment,
    check_text,
    single_headers,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchestrator.config.secret import Secret
    from receiver.senders.schemes.scheme import Headers

# An id has no full stop, because full stops separate id, timestamp and body in what is signed. Otherwise the parts
# could be divided differently: `a` + `T1` + `T2.5` could be read as `a.T1` + `T2` + `5`.
_ID: Final = re.compile(rb"[!-\-/-~]{1,255}")
_SIGNATURE: Final = re.compile(rb"[A-Za-z0-9+/]{43}=")

#: The prefixes of the header names: the standard's own, and that of Svix, from which the standard comes.
_FAMILIES: Final = (b"webhook", b"svix")


def verify_standard_webhook(
    secrets: Sequence[Secret],
    headers: Headers,
    body: bytes,
    *,
    now: Callable[[], float] = time.time,
    family: bytes = b"webhook",
) -> Signed:
    """Return what is signed if one of `secrets` signed the raw `body` and its id at most `WINDOW` seconds from now.

    Raises:
        SignatureRefused: in every other case. No input raises anything else.
    """
    identity, timestamp, signatures = _values(headers, family)

    if not _ID.fullmatch(identity):
        raise SignatureRefused("the id is not 1 to 255 visible ASCII characters without a full stop")

    check_moment(timestamp, now)
    candidates = _candidates(signatures)
    signed = b"%b.%b.%b" % (identity, timestamp, body)
    check_any(
        candidates, (base64.b64encode(hmac.digest(secret.reveal(), signed, hashlib.sha256)) for secret in secrets)
    )

    return Signed(identity=identity, moment=timestamp)


@dataclass(frozen=True, kw_only=True)
class StandardWebhooks:
    """Standard Webhooks from a third party, under the header names of the standard or those of Svix.

    The secrets are what follows `whsec_`, decoded from base64.
    """

    secrets: tuple[Secret, ...]
    challenge: str = "Signature"
    timestamped: bool = True

    def verify(self, headers: Headers, body: bytes, *, now: Callable[[], float]) -> Signed:
        """Return what is signed. Svix sends both families of headers; if they differ, they count as repeated."""
        given = list(headers)
        names = {name.lower() for name, _ in given}
        families = [family for family in _FAMILIES if family + b"-signature" in names] or [_FAMILIES[0]]

        if len(families) > 1 and len({_values(given, family) for family in families}) > 1:
            raise SignatureRepeated("the headers of the two families differ")

        signed = verify_standard_webhook(self.secrets, given, body, now=now, family=families[0])
        check_text(body)

        return signed


def _values(headers: Headers, family: bytes) -> tuple[bytes, ...]:
    """Return the id, the timestamp and the signatures in this family of headers.

    Raises:
        SignatureRefused: one of them is missing or repeated.
    """
    names = (family + b"-id", family + b"-timestamp", family + b"-signature")
    found = single_headers(headers, set(names))

    return tuple(found[name] for name in names)


def _candidates(header: bytes) -> list[bytes]:
    """Return the base64 texts of the v1 signatures, which are compared as text: only the canonical spelling matches."""
    parts = header.split(b" ")
    if len(parts) > MAX_SIGNATURES:
        raise SignatureRefused("there are too many signatures")

    candidates = []
    for part in parts:
        version, comma, signature = part.partition(b",")
        if not comma or b"," in signature or (version == b"v1" and not _SIGNATURE.fullmatch(signature)):
            raise SignatureRefused("the signature header is malformed")

        if version == b"v1":
            candidates.append(signature)

    return candidates
