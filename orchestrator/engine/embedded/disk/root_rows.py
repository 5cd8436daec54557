"""What the engine's file notes of a finished workflow so that it can be listed, read from the workflow's root."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from orchestrator.engine.search import is_root, status_of, workflow_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resonate.connections.local import DurablePromise

    from orchestrator.engine.search import Status


_NOTHING: Final = msgspec.Raw(b"null")


class _Stored(msgspec.Struct, gc=False):
    headers: dict[str, str] | None = None
    data: msgspec.Raw = _NOTHING


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
    return status_of(root.state, _headers(root.value) if root.state == "resolved" else None)


def holds_something(param: msgspec.Raw | None) -> bool:
    """Return whether a param holds a payload."""
    try:
        return param is not None and _decode(param).data != _NOTHING
    except msgspec.MsgspecError:
        return True


def _headers(value: Any) -> Mapping[str, str] | None:
    """Return the headers of a value, as it is stored or as the request under way brought it."""
    if isinstance(value, dict):
        headers = value.get("headers")

        return headers if isinstance(headers, dict) else None

    try:
        return None if value is None else _decode(value).headers
    except msgspec.MsgspecError:
        return None
