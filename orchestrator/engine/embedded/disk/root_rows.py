"""What the engine's file notes of a finished workflow so that it can be listed, read from the workflow's root."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from orchestrator.engine.search import is_root, status_of, workflow_of

if TYPE_CHECKING:
    from resonate.connections.local import DurablePromise

    from orchestrator.engine.search import Status


class _Stored(msgspec.Struct):
    headers: dict[str, str] | None = None
    data: msgspec.Raw | None = None


_NOTHING: Final = _Stored()
_NULL: Final = (None, b"null")
_decode: Final = msgspec.json.Decoder(_Stored).decode


class RootRow(NamedTuple):
    """A finished workflow, started at `at` (milliseconds since the epoch)."""

    origin: str
    workflow: str
    status: Status
    at: int


def row_of(root: DurablePromise | None) -> RootRow | None:
    """Return the row of a workflow that is over, None if this is not the root of one."""
    if root is None or not is_root(root.id, root.tags):
        return None

    return RootRow(root.id, workflow_of(root.id), root_status(root), root.created_at)


def root_status(root: DurablePromise) -> Status:
    """Return the state of a workflow as its root shows it without the payload."""
    return status_of(root.state, _stored(root.value).headers if root.state == "resolved" else None)


def holds_something(param: Any) -> bool:
    """Return whether a param holds a payload."""
    return _stored(param).data not in _NULL


def _stored(value: Any) -> _Stored:
    """Return a param or a value, as it is stored or as the request under way brought it."""
    try:
        return _decode(value) if isinstance(value, msgspec.Raw) else msgspec.convert(value or {}, _Stored)
    except msgspec.MsgspecError:
        return _NOTHING
