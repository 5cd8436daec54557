"""Signatures over request bodies: who really sent it, besides who holds the link.

Standard Webhooks (https://www.standardwebhooks.com, version 1.0.0), symmetric signatures only. The official library is
lenient with what it parses and raises whatever its parsing raises; here every header has one spelling, and everything
that is not exactly a good signature is `SignatureRefused`. A signature does not prove that a request is not a replay
within the window: whoever calls this must settle once for other reasons.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from orchestrator.secret import Secret

WINDOW: Final = 300
"""Seconds that a timestamp may lie in the past or the future."""

_MAX_SIGNATURES: Final = 16
_MAX_SIGNATURE_BYTES: Final = 2048

# Without a full stop: it separates id, timestamp and body in what is signed, and a body that is a number could
# otherwise be moved across the border, `a` + `T1` + `T2.5` read as `a.T1` + `T2` + `5`.
_ID: Final = re.compile(rb"[!-\-/-~]{1,255}")
_TIMESTAMP: Final = re.compile(rb"[1-9][0-9]{0,11}")
_SIGNATURE: Final = re.compile(rb"[A-Za-z0-9+/]{43}=")


class SignatureRefused(ValueError):
    """The body is not signed, or not by a key we know, or not now. Quotes nothing of the request."""


def verify_standard_webhook(
    secrets: Sequence[Secret],
    headers: Iterable[tuple[bytes, bytes]],
    body: bytes,
    *,
    now: Callable[[], float] = time.time,
) -> None:
    """Return if one of `secrets` signed the raw `body` and its id, less than `WINDOW` seconds ago or ahead.

    Raises:
        SignatureRefused: in every other case, and nothing else whatever the bytes are.
    """
    found = _only(headers, {b"webhook-id", b"webhook-timestamp", b"webhook-signature"})
    identity, timestamp = found[b"webhook-id"], found[b"webhook-timestamp"]
    if not _ID.fullmatch(identity):
        raise SignatureRefused("webhook-id is not 1 to 255 visible ASCII characters without a full stop")

    if not _TIMESTAMP.fullmatch(timestamp):
        raise SignatureRefused("webhook-timestamp is not a number of seconds")

    if abs(now() - int(timestamp)) > WINDOW:
        raise SignatureRefused("webhook-timestamp is not now")

    candidates = _candidates(found[b"webhook-signature"])
    try:
        body.decode()
    except UnicodeDecodeError:
        raise SignatureRefused("the body is not UTF-8") from None  # the original carries the body

    signed = b"%b.%b.%b" % (identity, timestamp, body)
    good = False
    for secret in secrets:
        expected = base64.b64encode(hmac.digest(secret.reveal(), signed, hashlib.sha256))
        for candidate in candidates:
            good |= hmac.compare_digest(expected, candidate)

    if not good:
        raise SignatureRefused("no signature matches")


def _only(headers: Iterable[tuple[bytes, bytes]], names: set[bytes]) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for raw_name, value in headers:
        name = raw_name.lower()
        if name not in names:
            continue

        if name in found:
            raise SignatureRefused("a signature header is repeated")

        found[name] = value

    if len(found) != len(names):
        raise SignatureRefused("a signature header is missing")

    return found


def _candidates(header: bytes) -> list[bytes]:
    """Return the base64 texts of the v1 signatures; compared as text, so only the canonical spelling can match."""
    parts = header.split(b" ") if len(header) <= _MAX_SIGNATURE_BYTES else []
    if not 1 <= len(parts) <= _MAX_SIGNATURES:
        raise SignatureRefused("webhook-signature is too long")

    candidates = []
    for part in parts:
        version, comma, signature = part.partition(b",")
        if not comma or b"," in signature or (version == b"v1" and not _SIGNATURE.fullmatch(signature)):
            raise SignatureRefused("webhook-signature is malformed")

        if version == b"v1":
            candidates.append(signature)

    return candidates
