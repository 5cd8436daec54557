"""Records of the state machine in the SDK's type, payloads as stored."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from resonate.types import PromiseRecord, Value

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode
_decode_value: Final = msgspec.json.Decoder(Value).decode
_EMPTY: Final = Value()


def as_record(found: Any) -> Any:
    """Return a record of the state machine in the SDK's type; as plain data if it does not have the form of one."""
    if found is None:
        return None

    try:
        return PromiseRecord(
            id=found["id"],
            state=found["state"],
            param=_EMPTY if found["param"] is None else _value(found["param"]),
            value=_EMPTY if found["value"] is None else _value(found["value"]),
            tags=dict(found["tags"]),
            timeout_at=found["timeoutAt"],
            created_at=found["createdAt"],
            settled_at=found.get("settledAt"),
        )
    except msgspec.ValidationError:
        return _decode(_encode(found))


def _value(stored: Any) -> Value:
    """Return a param or a value in the SDK's type: as the state keeps it, or as the request under way brought it."""
    return _decode_value(stored) if isinstance(stored, msgspec.Raw) else msgspec.convert(stored, Value)
