"""A person's decision as it is stored: what the outcome of the wait holds beside the choice itself."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from orchestrator.callbacks.outcomes import Outcome


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What is kept about a decision; the choice and the person are in the outcome that holds it.

    `digest` is the SHA-256 of the question that the page showed, `client` the network address the decision came from,
    `at` when, in RFC 3339.
    """

    comment: str
    digest: str
    client: str | None
    at: str

    def stored(self) -> str:
        """Return the form that is stored as the outcome's body: JSON text whose form never changes."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, outcome: Outcome) -> Self | None:
        """Return what an outcome holds about a decision, or None if it holds none."""
        match outcome.value:
            case {"comment": str(comment), "digest": str(digest), "client": str() | None as client, "at": str(at)}:
                return cls(comment=comment, digest=digest, client=client, at=at)
            case _:
                return None
