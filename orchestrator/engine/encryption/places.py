"""Records of promises as an engine returns them, and the place in a record that a payload is bound to.

The records are dicts from the wire with sealed payloads. Nothing here opens a payload.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, Any, Final, TypeGuard

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Ties a promise to one life of the workflow that created it. Its value is readable and not secret.
LIFE_TAG: Final = "countersign:life"

_encoder: Final = msgspec.json.Encoder(order="deterministic")


def param_place(promise_id: str, timeout_at: int, tags: dict[str, str]) -> bytes:
    """Return what the param of a promise is bound to."""
    return _encoder.encode(["param", promise_id, timeout_at, tags])


def param_place_of(record: dict[str, Any]) -> bytes:
    """Return what the param of this record must be bound to."""
    return param_place(record["id"], record["timeoutAt"], record["tags"])


def value_place(promise_id: str, state: str, anchor: str) -> bytes:
    """Return what the value of a promise is bound to, given the state it settles in and the anchor of the record."""
    return _encoder.encode(["value", promise_id, state, anchor])


def anchor_of(record: dict[str, Any]) -> str:
    """Return a digest of the sealed param and the life tag: it differs from that of any other record with this id."""
    param = held(record, "param") or ""
    text = f"{len(param)}:{param}{record['tags'].get(LIFE_TAG, '')}"

    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]


def held(record: dict[str, Any], slot: str) -> str | None:
    """Return the payload in the `param` or the `value` of a record as text, None if there is none."""
    found = record.get(slot)
    text = found.get("data") if isinstance(found, dict) else None

    return text if isinstance(text, str) and text else None


def payload_of(text: str) -> bytes:
    """Return the bytes of a payload, or no bytes if its text is not base64."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def is_over(record: dict[str, Any]) -> bool:
    """Return whether a record says that it was settled at its deadline or later."""
    settled_at = record.get("settledAt")

    return isinstance(settled_at, int) and settled_at >= record["timeoutAt"]


def is_timer(record: dict[str, Any]) -> bool:
    """Return whether an engine resolves this promise by itself at its deadline."""
    return bool(record["tags"].get("resonate:timer") == "true")


def is_below(promise_id: str, task_id: str) -> bool:
    """Return whether a promise of this id is created by this task or by a step that it runs."""
    return promise_id.startswith(f"{task_id}." if ":" in task_id else f"{task_id}:")


def records_in(reply: object) -> Iterator[dict[str, Any]]:
    """Yield the records in the data of an engine's reply, whatever the request was.

    Anything that does not have the form of a record is skipped; the SDK refuses it.
    """
    if not isinstance(reply, dict):
        return

    action = reply.get("action")
    inner = action.get("data") if isinstance(action, dict) else None
    found = [part.get("promise") for part in (reply, inner) if isinstance(part, dict)]

    for several in (reply.get("preload"), reply.get("promises")):
        found += several if isinstance(several, list) else []

    yield from (record for record in found if is_record(record))


def is_record(record: object) -> TypeGuard[dict[str, Any]]:
    """Return whether this has the form of a record. A record without tags gets empty ones."""
    if not isinstance(record, dict):
        return False

    tags = record.setdefault("tags", {})
    texts = isinstance(record.get("id"), str) and isinstance(record.get("state"), str)

    return texts and isinstance(record.get("timeoutAt"), int) and isinstance(tags, dict)
