"""The ids that this API gives to workflows whose client sends none.

Without an `Idempotency-Key` the id is new for each request. With one it is derived from that key and the workflow's
name, so that the same request finds what it started. The derivation needs no secret: an id is no credential, and one
that depended on a signing key would change when that key is replaced, and start the workflow a second time.
"""

from __future__ import annotations

import hashlib
import secrets
import time
import uuid
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_VERSION_7: Final = 0x7 << 76
_VARIANT: Final = 0x2 << 62


def new_id(*, clock: Callable[[], float] = time.time, random_bits: Callable[[int], int] = secrets.randbits) -> str:
    """Return an id that nobody can guess: a UUID of version 7 (RFC 9562). Later ones sort after earlier ones.

    Two ids of the same millisecond are in no particular order.
    """
    milliseconds = int(clock() * 1000) << 80

    return str(uuid.UUID(int=milliseconds | _VERSION_7 | random_bits(12) << 64 | _VARIANT | random_bits(62)))


def derived_id(workflow: str, key: str) -> str:
    """Return the id for this `Idempotency-Key`: the same for the same key and workflow, for every client.

    It begins like no id that a webhook's source starts a workflow under, because no source's name has a full stop.
    """
    digest = hashlib.sha256(f"countersign.start\0{workflow}\0{key}".encode())

    return f"key.{digest.hexdigest()[:32]}"
