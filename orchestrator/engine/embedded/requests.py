"""Which promises a request is about, and which lineages its reply reports on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.engine.embedded.memory.lineages import origin_of

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet


def ids_in_request(request: Any) -> list[str]:
    """Return the ids of the promises that a request is about."""
    found: list[Any] = []

    if isinstance(request, dict):
        found += (request.get("id"), request.get("awaited"))
        action, actions = request.get("action"), request.get("actions")

        for part in (action, *(actions if isinstance(actions, list) else ())):
            if isinstance(part, dict):
                data = part.get("data")
                inner = data if isinstance(data, dict) else part
                found += (part.get("id"), part.get("awaited"), inner.get("id"), inner.get("awaited"))

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
    for promise_id in ids_in_request(request):
        origin = origin_of(promise_id)

        if origin in origins:
            return origin

    return None
