"""What a callback token says, and the errors of one that may not be used."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from orchestrator.callbacks.terms import Terms
from orchestrator.durable.opened_at import opened_at
from orchestrator.errors import CountersignError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resonate.types import PromiseRecord

type Version = Literal[1, 2]
type Audience = Literal["machine", "approver", "progress"]

#: Where each audience presents its tokens, below the public URL.
PATHS: Final[Mapping[Audience, str]] = {
    "machine": "/callbacks",
    "approver": "/approvals",
    "progress": "/callbacks/progress",
}


@dataclass(frozen=True, kw_only=True)
class Claims:
    """What a token says.

    `expires_at` is in whole seconds since the epoch. `opened_at` is when the wait was opened, in milliseconds since the
    epoch, None for a wait that was opened before tokens said so. `question` and `digest` are set on approver tokens
    only: which stored question the person answers, and the SHA-256 of it in hex.
    """

    promise_id: str
    callback: str
    audience: Audience
    subject: str
    outcomes: tuple[str, ...]
    expires_at: int
    opened_at: int | None = None
    question: str | None = None
    digest: str | None = None

    @property
    def version(self) -> Version:
        """The format version of the token that says this."""
        return 1 if self.opened_at is None else 2

    def is_for(self, record: PromiseRecord) -> bool:
        """Whether this is the record of this very wait, and not of an earlier or later one with the same id.

        A wait that no link may answer is no wait of any token.
        """
        is_this = record.id == self.promise_id and opened_at(record) == self.opened_at

        return is_this and Terms.read(record).link

    @property
    def is_of_root(self) -> bool:
        """Whether this names a root, which only its own worker may settle. A wait is always below a root."""
        return ":" not in self.promise_id

    @property
    def ikey(self) -> str:
        """The idempotency key of a delivery that has none: the same for every delivery with equal claims.

        Independent of the signing key and the expiry, so that it survives a key rotation.
        """
        parts: tuple[str | int, ...] = (self.promise_id, self.callback, self.audience, self.subject)

        if self.opened_at is not None:
            parts += (self.opened_at,)

        digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()

        return f"claims:{digest}"


@dataclass(frozen=True, kw_only=True)
class Presented:
    """What a genuine token says, and whether it was presented after its expiry."""

    claims: Claims
    expired: bool


class TokenError(CountersignError):
    """A callback token that may not be used."""


class TokenInvalid(TokenError):
    """Not minted by a current key, for another audience, or malformed. Deliberately says no more than that."""


class TokenExpired(TokenError):
    """Genuine, but presented after its expiry; carries the verified `claims`."""

    def __init__(self, claims: Claims) -> None:
        super().__init__("the token has expired")
        self.claims = claims
