"""Callback tokens: what lets a stranger settle one wait, and nothing else.

A token is `PAYLOAD.SIGNATURE`, both unpadded base64url. The payload is the claims as JSON with sorted keys, so that the
same wait always gives the same link; the signature is itsdangerous' HMAC-SHA256 under a salt of its own for every
audience and format version. The text is not encrypted and nothing secret goes into it.

Version 2 says when the wait was opened (`w`), so that a link of an earlier wait does not answer a later one of the same
promise id. Version 1 does not say it. It is minted and accepted only for waits that were opened before version 2.

This file refuses to be lenient: several spellings of one base64 text decode to the same bytes, and only the spelling we
mint is accepted. Claims evolve by appending to them; a change of meaning is a new version with a new salt, and an old
version stays readable as long as a wait minted with it can be open.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import time
from typing import TYPE_CHECKING, Final

import msgspec
from itsdangerous import Signer
from itsdangerous.encoding import base64_decode, base64_encode
from itsdangerous.signer import SigningAlgorithm

from orchestrator.callbacks.claims import Audience, Claims, Presented, TokenExpired, TokenInvalid, Version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from orchestrator.config.secret import Secret


#: The newest format first: nearly all tokens are of that one.
VERSIONS: Final[tuple[Version, ...]] = (2, 1)
MAX_TOKEN_LENGTH: Final = 2048

# 32 bytes leave two spare bits in the last character of their base64: only the spelling with zeros there is ours.
_GRAMMAR: Final = re.compile(r"[A-Za-z0-9_-]{2,}\.[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]", re.ASCII)


class TokenSigner:
    """Mints and verifies callback tokens under a list of keys, oldest first: the last one signs, all verify."""

    def __init__(self, keys: Sequence[Secret], *, clock: Callable[[], float] = time.time) -> None:
        if not keys:
            raise ValueError("a token signer needs at least one key")

        secrets = [key.reveal() for key in keys]
        self._clock = clock
        audiences: Iterable[Audience] = ("machine", "approver", "progress")
        self._signers: Final = {
            (version, audience): _signer(secrets, version, audience) for version in VERSIONS for audience in audiences
        }
        #: The keys that verify, the newest first.
        self._keys: Final = {of: signer.secret_keys[::-1] for of, signer in self._signers.items()}

    def mint(self, claims: Claims) -> str:
        """Return the token of these claims: the same text every time, until the signing key is rotated.

        Raises:
            ValueError: the claims are so long that no verifier would accept the token.
        """
        payload = base64_encode(_encode(claims))
        token = self._signers[claims.version, claims.audience].sign(payload).decode()

        if len(token) > MAX_TOKEN_LENGTH:
            raise ValueError(f"the token of {claims.promise_id} would be longer than {MAX_TOKEN_LENGTH} characters")

        return token

    def verify(self, token: str, *, audience: Audience) -> Claims:
        """Return the claims of a token this signer minted for this audience, or raise.

        The signature is checked before anything in the token is looked at, and before the expiry, so an expired token
        is known to be ours while an invalid one may be anybody's. Verifying does not spend the token: it stays good
        until it expires, and single use comes from the promise settling once. Nor does verifying look at the wait:
        check its record with `Claims.is_for` before you act on the claims.

        Raises:
            TokenExpired: genuine, but later than its `expires_at`; carries the claims.
            TokenInvalid: not minted by a current key, for another audience, or malformed.
        """
        presented = self.verify_even_expired(token, audience=audience)

        if presented.expired:
            raise TokenExpired(presented.claims)

        return presented.claims

    def verify_even_expired(self, token: str, *, audience: Audience) -> Presented:
        """Return what a genuine token says and whether it has expired, for showing what was recorded.

        Raises:
            TokenInvalid: as for `verify`.
        """
        if len(token) > MAX_TOKEN_LENGTH or _GRAMMAR.fullmatch(token) is None:
            raise TokenInvalid

        payload, _, signature = token.encode().rpartition(b".")
        version = self._version(payload, base64_decode(signature), audience)

        if version is None:
            raise TokenInvalid

        document = base64_decode(payload)

        if base64_encode(document) != payload:
            raise TokenInvalid

        claims = _decode(document, version, audience)

        return Presented(claims=claims, expired=self._clock() > claims.expires_at)

    def _version(self, payload: bytes, signature: bytes, audience: Audience) -> Version | None:
        """Return the format version under whose salt the token is signed, or None."""
        # The library's signer would decode the signature once for each version, and its errors hold it.
        for version in VERSIONS:
            for key in self._keys[version, audience]:
                if _HMAC.verify_signature(key, payload, signature):
                    return version

        return None


class _Hmac(SigningAlgorithm):
    """HMAC-SHA256, computed in one call: for a token, the library's own takes three times as long."""

    def get_signature(self, key: bytes, value: bytes) -> bytes:
        return hmac.digest(key, value, "sha256")


_HMAC: Final = _Hmac()


def _signer(secrets: list[bytes], version: Version, audience: Audience) -> Signer:
    deriving = Signer(
        secrets,
        salt=f"countersign.callback.v{version}.{audience}",
        sep=".",
        key_derivation="hmac",
        digest_method=hashlib.sha256,
    )
    # The keys are derived here, once, and not again for every token.
    keys = [deriving.derive_key(secret) for secret in secrets]

    return Signer(keys, sep=".", key_derivation="none", algorithm=_HMAC)


def _encode(claims: Claims) -> bytes:
    document: dict[str, object] = {
        "v": claims.version,
        "p": claims.promise_id,
        "c": claims.callback,
        "a": claims.audience,
        "s": claims.subject,
        "o": list(claims.outcomes),
        "x": claims.expires_at,
    }

    if claims.opened_at is not None:
        document["w"] = claims.opened_at

    if claims.question is not None:
        document |= {"q": claims.question, "d": claims.digest}

    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


class _Document(msgspec.Struct, frozen=True):
    v: int
    p: str
    c: str
    a: str
    s: str
    o: tuple[str, ...]
    x: int
    w: int | None = None
    q: str | None = None
    d: str | None = None


def _decode(text: bytes, version: Version, audience: Audience) -> Claims:
    # Only we can have signed this, so it is as expected unless a key is used for something else as well.
    try:
        document = msgspec.json.decode(text, type=_Document)
    except msgspec.DecodeError:
        raise TokenInvalid from None

    if document.v != version or document.a != audience or (document.w is not None) != (version > 1):
        raise TokenInvalid

    return Claims(
        promise_id=document.p,
        callback=document.c,
        audience=audience,
        subject=document.s,
        outcomes=document.o,
        expires_at=document.x,
        opened_at=document.w,
        question=document.q,
        digest=document.d,
    )
