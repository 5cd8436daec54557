"""What the record of a wait says about its answers: whether a link may give one, and whether later ones are kept.

The first call that opens a wait decides this permanently. A wait whose record says nothing has a link.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import msgspec

from orchestrator import stored_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resonate.types import PromiseRecord


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """The terms of one wait.

    Without `link` no token is ever minted for it, and none is accepted. With `keeps_later`, the first answer that comes
    after another one has settled the wait is kept beside the wait. `about` is for whoever opened it.
    """

    link: bool = True
    keeps_later: bool = False
    about: Mapping[str, Any] | None = None

    def stored(self, promise_id: str) -> dict[str, Any]:
        """Return the form that is stored in the wait's param, bound to that one wait."""
        return {
            "countersign": stored_names.FORMAT,
            "promise": promise_id,
            "link": self.link,
            "keeps_later": self.keeps_later,
            "about": self.about,
        }

    @classmethod
    def read(cls, record: PromiseRecord) -> Self:
        """Return the terms of the wait of this record; the usual ones if it names none for this very wait."""
        match record.param.data:
            case {
                "countersign": stored_names.FORMAT,
                "promise": record.id,
                "link": bool(link),
                "keeps_later": bool(keeps_later),
                "about": dict() | None as about,
            }:
                return cls(link=link, keeps_later=keeps_later, about=about)
            case _:
                return cls()
