"""Finding the waits of a person without their address in the store: tags are not encrypted, so they hold a digest.

The digest is keyed with the payload keys. Without such a key nobody can try addresses, but whoever reads the store sees
which waits are put to the same person. Where payloads are readable, the digest hides nothing either.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orchestrator.config.secret import Secret

_PURPOSE: Final = b"countersign.person"

#: 64 bits: two people share a digest so rarely that reading one record too many does not matter.
_HEX_DIGITS: Final = 16


class PeopleDigests:
    """Digests of people, under the payload keys, oldest first: the last one makes them, all find them."""

    def __init__(self, keys: Sequence[Secret] = ()) -> None:
        self._keys: Final = [hmac.digest(key.reveal(), _PURPOSE, "sha256") for key in keys] or [_PURPOSE]

    def tag(self, people: Iterable[str]) -> str:
        """Return the digests of these people, separated by spaces."""
        return " ".join(_digest(self._keys[-1], person) for person in people)

    def of(self, person: str) -> frozenset[str]:
        """Return every digest that a wait may have for this person, under any of the keys."""
        return frozenset(_digest(key, person) for key in self._keys)


def _digest(key: bytes, person: str) -> str:
    # Surrogates cannot be encoded otherwise. No person of a wait has any, so such a search finds nobody.
    text = person.casefold().encode("utf-8", "backslashreplace")

    return hmac.new(key, text, hashlib.sha256).hexdigest()[:_HEX_DIGITS]
