"""Which promises a request is about, and which lineages its reply reports on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.engine.embedded.memory.lineages import origin_of

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet


def ids_in_request(request: Any) -> list[str]:
    """Return the ids of the promises that a request is about."""
    if not isinstance(request, dict):
        return []

    actions = request.get("actions")
    parts = [request, request.get("action"), *(actions if isinstance(actions, list) else [])]
    parts += [part.get("data") for part in parts if isinstance(part, dict)]
    found = [part.get(key) for part in parts if isinstance(part, dict) for key in ("id", "awaited")]
    return [id_ for id_ in found if isinstance(id_, str)]


def lineages_in_reply(request: dict[str, Any], response: dict[str, Any]) -> set[str] | None:
    """Return the lineages that the reply to a request without effect reports on, None if it may be any.

    Taking a lease counts as a request without effect: leases end with the process, so nothing on disk depends on them,
    and everything done under the lease is written after all that the reply reports.
    """
    if response.get("kind") not in {"promise.get", "promise.create", "promise.settle", "task.acquire"}:
        return None

    return {origin_of(request["id"]), *(origin_of(record["id"]) for record in response.get("preload", ()))}


def first_of(origins: AbstractSet[str], request: Any) -> str | None:
    """Return one of these lineages that the request is about, None if it is about none of them."""
    if not origins:
        return None

    return next((origin for origin in map(origin_of, ids_in_request(request)) if origin in origins), None)
