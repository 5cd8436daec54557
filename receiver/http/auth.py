"""Who asks: the Authorization header, and the API keys of the workflow API, each with what its holder may do.

Only digests of keys are held. This file knows nothing of callback tokens beyond where they are written in a request.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final

from orchestrator.config.keys import ROLES
from receiver.http.problems import Problem
from receiver.http.telemetry import name_caller

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request

    from orchestrator.config.keys import ApiKey, Role
    from receiver.http.bad_tokens import BadTokens

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
    """The API keys by name. Empty: nobody is let in.

    Wrong keys are counted by client address, and only they: a right one is let in however many wrong ones came before.
    """

    def __init__(self, keys: Mapping[str, ApiKey], wrong: BadTokens) -> None:
        self._keys: Final = dict(keys)
        self._wrong: Final = wrong

    def __repr__(self) -> str:
        return f"ApiKeys({', '.join(sorted(self._keys))})"

    def authorise(self, request: Request, role: Role) -> str:
        """Return the name of the request's key, which may do what this role may; the access line names it too.

        A request without an Authorization header guesses at nothing and is not counted.

        Raises:
            Problem: `unauthorized`, `rate-limited` instead where too many wrong keys came from this address, or
                `forbidden` for a key of a lesser role.
        """
        values = request.headers.getlist("authorization")

        try:
            name = self.identify(values)
        except Problem as problem:
            raise (self._wrong.refusal(request.scope, problem) if values else problem) from None

        name_caller(request.scope, name)
        held = self._keys[name].role

        if ROLES.index(held) < ROLES.index(role):
            raise Problem("forbidden", f"This needs a key of the role {role}; the role of yours is {held}.")

        return name

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
        for name, known in self._keys.items():
            if hmac.compare_digest(digest, known.digest):
                found = name

        if token is None or found is None:
            raise Problem("unauthorized")

        return found
