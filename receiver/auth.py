"""Who asks: the Authorization header, and the API keys of the workflow API.

Only digests of keys are held. This file knows nothing of callback tokens beyond where they are written in a request.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final

from receiver.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SCHEME: Final = "bearer"


class NotBearer(ValueError):
    """An Authorization header that is repeated, of another scheme, or not one word after the scheme."""


def bearer_token(values: Sequence[str]) -> str | None:
    """Return the one bearer token among a request's Authorization headers, None where there is no such header.

    The scheme's case is nothing (RFC 9110, 11.1). What the token is worth is for others to say.

    Raises:
        NotBearer: more than one header, another scheme, or no single word in visible ASCII after it.
    """
    if not values:
        return None

    if len(values) > 1:
        raise NotBearer("the Authorization header is repeated")

    scheme, _, token = values[0].partition(" ")
    token = token.strip(" ")
    if scheme.lower() != _SCHEME or not token:
        raise NotBearer("the Authorization header is not a bearer token")

    if not token.isascii() or not token.isprintable() or " " in token:
        raise NotBearer("the bearer token is not one word of visible ASCII")

    return token


class ApiKeys:
    """The API keys, by name and SHA-256 digest. Empty: nobody is let in."""

    def __init__(self, digests: Mapping[str, bytes]) -> None:
        self._digests: Final = dict(digests)

    def __repr__(self) -> str:
        return f"ApiKeys({', '.join(sorted(self._digests))})"

    def identify(self, values: Sequence[str]) -> str:
        """Return the name of the key among the Authorization header `values`.

        Every key is compared, each in constant time, so the time taken tells nothing of which keys exist.

        Raises:
            Problem: `unauthorized`, the same for a missing, a malformed and a wrong key.
        """
        try:
            token = bearer_token(values)
        except NotBearer:
            raise Problem("unauthorized") from None

        digest = hashlib.sha256((token or "").encode()).digest()
        found: str | None = None
        for name, known in self._digests.items():
            if hmac.compare_digest(digest, known):
                found = name

        if token is None or found is None:
            raise Problem("unauthorized")

        return found
