"""The place in a promise's record that a payload is bound to.

The payloads in the records are sealed. Nothing here opens one.
"""

from __future__ import annotations

import binascii
import hashlib
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from resonate.types import PromiseRecord, Value

#: Ties a promise to one life of the workflow that created it. Its value is readable and not secret.
LIFE_TAG: Final = "countersign:life"

_encoder: Final = msgspec.json.Encoder(order="deterministic")


def param_place(promise_id: str, timeout_at: int, tags: dict[str, str]) -> bytes:
    """Return what the param of a promise is bound to."""
    return _encoder.encode(["param", promise_id, timeout_at, tags])


def param_place_of(record: PromiseRecord) -> bytes:
    """Return what the param of this record must be bound to."""
    return param_place(record.id, record.timeout_at, record.tags)


def value_place(promise_id: str, state: str, anchor: str) -> bytes:
    """Return what the value of a promise is bound to, given the state it settles in and the anchor of the record."""
    return _encoder.encode(["value", promise_id, state, anchor])


def anchor_of(record: PromiseRecord) -> str:
    """Return a digest of the sealed param and the life tag: it differs from that of any other record with this id."""
    param = held(record.param) or ""
    text = f"{len(param)}:{param}{record.tags.get(LIFE_TAG, '')}"

    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]


def held(slot: Value) -> str | None:
    """Return the payload in the param or the value of a record as text, None if there is none."""
    text = slot.data

    return text if isinstance(text, str) and text else None


def payload_of(text: str) -> bytes:
    """Return the bytes of a payload, or no bytes if its text is not base64."""
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        return b""


def text_of(payload: bytes) -> str:
    """Return the text in which a record holds a payload."""
    return binascii.b2a_base64(payload, newline=False).decode("ascii")


def is_over(record: PromiseRecord) -> bool:
    """Return whether a record says that it was settled at its deadline or later."""
    return record.settled_at is not None and record.settled_at >= record.timeout_at


def is_timer(record: PromiseRecord) -> bool:
    """Return whether an engine resolves this promise by itself at its deadline."""
    return record.tags.get("resonate:timer") == "true"


def is_below(promise_id: str, task_id: str) -> bool:
    """Return whether a promise of this id is created by this task or by a step that it runs."""
    return promise_id.startswith(f"{task_id}." if ":" in task_id else f"{task_id}:")
