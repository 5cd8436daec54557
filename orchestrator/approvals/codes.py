"""The short code of a high-stakes question: in the mail, asked for on the page, never in the link.

A code is derived from the signing key, the wait and the person, so a repeated mail step sends the same code and no
store holds it. An earlier wait under the same promise id has another code. Guesses are counted in the engine, each
under a promise that can be created only once, so the limit holds over all replicas. The same guess is counted once,
because repeating it reveals nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Final

from orchestrator.durable.notes import write_note
from orchestrator.durable.opened_at import companion_id, opened_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resonate.types import PromiseRecord

    from orchestrator.config.secret import Secret
    from orchestrator.engine.promises import Promises

MAX_TRIES: Final = 5

_LENGTH: Final = 8
_SALT: Final = b"countersign.approval-code.v1"

#: 32 characters that people do not confuse with each other.
_ALPHABET: Final = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"

_KEPT_AFTER: Final = 86_400_000


class ApprovalCodes:
    """Makes and checks codes under a list of keys, oldest first: the last one makes, all check."""

    def __init__(self, keys: Sequence[Secret]) -> None:
        self._keys: Final = tuple(hmac.digest(key.reveal(), _SALT, "sha256") for key in keys)

    def code(self, wait: PromiseRecord, person: str) -> str:
        """Return this person's code for this wait, as `ABCD-EFGH`: the same until the key is rotated."""
        code = _code(self._keys[-1], wait, person)

        return f"{code[:4]}-{code[4:]}"

    def is_right(self, entered: str, wait: PromiseRecord, person: str) -> bool:
        """Return whether this is the person's code; case, spaces and dashes are ignored."""
        guess = _normal(entered).encode()
        found = [hmac.compare_digest(guess, _code(key, wait, person).encode()) for key in self._keys]

        return any(found)

    async def count(self, promises: Promises, wait: PromiseRecord, person: str, entered: str) -> int | None:
        """Count this guess, unless it was counted before. Return how many more are allowed, None for one too many.

        Call this before you compare the guess, so that guesses at the same instant cannot exceed the limit together.

        Raises:
            EngineUnavailable: whether it was counted is unknown; repeating the same guess is safe.
        """
        guess = _mac(self._keys[-1], "guess", wait.id, person, _normal(entered)).hex()
        origin = companion_id(wait, hashlib.sha256(person.encode()).hexdigest()[:12])

        for number in range(1, MAX_TRIES + 1):
            note_id, ends_at = f"{origin}~try{number}", wait.timeout_at + _KEPT_AFTER
            record = await write_note(promises, note_id, {"guess": guess}, ends_at=ends_at)

            if record.param.data == {"guess": guess}:
                return MAX_TRIES - number

        return None


def _normal(entered: str) -> str:
    return "".join(entered.upper().replace("-", " ").split())


def _code(key: bytes, wait: PromiseRecord, person: str) -> str:
    opened = opened_at(wait)
    parts = ("code", wait.id, person) if opened is None else ("code", wait.id, person, str(opened))

    return "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in _mac(key, *parts)[:_LENGTH])


def _mac(key: bytes, *parts: str) -> bytes:
    return hmac.digest(key, json.dumps(parts).encode(), "sha256")
