"""Authentication: the Authorization header, and the API keys of the workflow API with their roles.

Only digests of keys are held. This file extracts bearer tokens and does not verify callback tokens.
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
    """The Authorization header is repeated, has another scheme, or has not exactly one word after the scheme."""


def bearer_token(values: Sequence[str]) -> str | None:
    """Return the bearer token of a request's Authorization header, None if there is no such header.

    The scheme's case does not matter (RFC 9110, 11.1). The token itself is not verified here.

    Raises:
        NotBearer: there is more than one header, another scheme, or not exactly one word of visible ASCII after it.
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
    """The API keys by name. Without any, every request is refused.

    Only wrong keys are counted by client address: a right key is accepted however many wrong ones came before it.
    """

    def __init__(self, keys: Mapping[str, ApiKey], wrong: BadTokens) -> None:
        self._keys: Final = dict(keys)
        self._wrong: Final = wrong

    def __repr__(self) -> str:
        return f"ApiKeys({', '.join(sorted(self._keys))})"

    def authorise(self, request: Request, role: Role) -> str:
        """Return the name of the request's key, which has this role or a higher one; the access line names it too.

        A request without an Authorization header is no guess, so it is not counted.

        Raises:
            Problem: `unauthorized`; `rate-limited` instead if too many wrong keys came from this address; `forbidden`
                for a key of a lower role.
        """
        values = request.headers.getlist("authorization")

        try:
            name = self.identify(values)
        except Problem as problem:
            raise (self._wrong.refusal(request.scope, problem) if values else problem) from None

        name_caller(request.scope, name)
        self.require(name, role)

        return name

    def require(self, name: str, role: Role) -> None:
        """Return if the key of this name has this role or a higher one.

        Raises:
            Problem: `forbidden`.
        """
        held = self._keys[name].role

        if ROLES.index(held) < ROLES.index(role):
            raise Problem("forbidden", f"This needs an API key with the role {role}; your key has the role {held}.")

    def named(self, name: str) -> ApiKey | None:
        """Return the key of this name, None if there is none, or none any more."""
        return self._keys.get(name)

    def identify(self, values: Sequence[str]) -> str:
        """Return the name of the key in the Authorization header `values`.

        Raises:
            Problem: `unauthorized`, the same for a missing, a malformed and a wrong key.
        """
        try:
            found = self._find(bearer_token(values))
        except NotBearer:
            found = None

        if found is None:
            raise Problem("unauthorized")

        return found

    def identify_typed(self, request: Request, text: str) -> str:
        """Return the name of a key that somebody typed into a form; spaces around it are ignored.

        Raises:
            Problem: `unauthorized`, counted with the wrong keys in headers, or `rate-limited` after too many of them.
        """
        found = self._find(text.strip())

        if found is None:
            raise self._wrong.refusal(request.scope, Problem("unauthorized"))

        name_caller(request.scope, found)

        return found

    def _find(self, text: str | None) -> str | None:
        """Return the name of the key with this text.

        Every key is compared, each in constant time, so the duration does not reveal which keys exist.
        """
        digest = hashlib.sha256((text or "").encode(errors="replace")).digest()
        found: str | None = None

        for name, known in self._keys.items():
            if hmac.compare_digest(digest, known.digest):
                found = name

        return found if text else None
