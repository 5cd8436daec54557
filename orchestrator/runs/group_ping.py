"""Whether a worker group has a worker. A task for the group finds out, because an engine does not know its workers."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from orchestrator.durable.scheduling import create_task
from orchestrator.stored_names import TRANSIENT_TAG

if TYPE_CHECKING:
    from collections.abc import Callable

    from resonate.context import Context as SDKContext

    from orchestrator.engine import Engine

PING: Final = "countersign.ping"

#: Longer than any caller waits for the reply, so that clocks may differ.
_KEPT_SECONDS: Final = 600


async def ping(_: SDKContext, asked: str) -> str:
    """Reply. Every worker of every group registers this function."""
    return asked


async def is_served(
    engine: Engine,
    group: str,
    *,
    seconds: float,
    clock: Callable[[], float] | None = None,
    new_nonce: Callable[[], str] = lambda: secrets.token_hex(16),
) -> bool:
    """Return whether a worker of this group replies within `seconds`.

    A busy group replies late, and a worker that is being replaced not at all, so False is a hint and not a proof.
    Leaves one settled promise in the engine.

    Raises:
        EngineUnavailable: the engine itself does not reply.
    """
    probe = f"countersign~ping~{new_nonce()}"
    await create_task(
        engine,
        probe,
        function=PING,
        argument=group,
        target=engine.address_of(group),
        timeout_at=int(((clock or engine.clock)() + _KEPT_SECONDS) * 1000),
        tags={TRANSIENT_TAG: "true"},
    )
    record = await engine.wait_settled(probe, seconds=seconds)

    if record.state == "pending":
        # The reply is no longer needed. If one has come since, the engine returns the record with it.
        record = await engine.promises.cancel(probe)

    return record.state == "resolved"
