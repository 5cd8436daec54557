"""Where the records of promises are in the data of an engine's reply, and these records in the SDK's own type.

The SDK accepts a record in that type as it is. Whatever does not have the form of a record stays where it is: the SDK
refuses it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from resonate.types import PromiseRecord

if TYPE_CHECKING:
    from collections.abc import Iterator


def record_places(reply: object) -> Iterator[tuple[Any, Any]]:
    """Yield each place where a reply may hold a record, as a dict or list and the key in it, whatever the request."""
    if not isinstance(reply, dict):
        return

    if "promise" in reply:
        yield reply, "promise"

    action = reply.get("action")
    inner = action.get("data") if isinstance(action, dict) else None

    if isinstance(inner, dict) and "promise" in inner:
        yield inner, "promise"

    for name in ("preload", "promises"):
        several = reply.get(name)

        if isinstance(several, list):
            for index in range(len(several)):
                yield several, index


def record_of(found: object) -> PromiseRecord | None:
    """Return what was found in such a place as a record, None if it does not have the form of one."""
    if isinstance(found, PromiseRecord):
        return found

    if not isinstance(found, dict):
        return None

    fields = {name: value for name, value in found.items() if value is not None or name not in {"param", "value"}}

    try:
        return msgspec.convert(fields, PromiseRecord)
    except msgspec.ValidationError:
        return None
