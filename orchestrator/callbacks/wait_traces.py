"""The span of a wait: from the moment at which it was opened to its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.durable.step_traces import trace_of_workflow

if TYPE_CHECKING:
    from orchestrator.callbacks.settlement import Settlement
    from orchestrator.engine import Engine

_FAILURES: Final = frozenset({"failed", "died", "expired", "cancelled"})


async def trace_wait(
    engine: Engine, promise_id: str, opened_at: int | None, settlement: Settlement, *, linked: str | None = None
) -> None:
    """Add the span of this wait if this settlement is the one that ended it, and it is known when it was opened.

    `linked` is the traceparent that came with the answer, or None. Whoever sent it may answer this wait, but is nobody
    to say what belongs to our trace: so the span names it as a link.
    """
    if not engine.tracing.on or settlement.verdict != "applied" or opened_at is None:
        return

    settled = settlement.settled
    outcome = settled.outcome

    engine.tracing.record(
        f"wait {outcome.callback}",
        {
            "countersign.callback": outcome.callback,
            "countersign.promise": promise_id,
            "countersign.outcome": outcome.kind,
            "countersign.by": outcome.by,
        },
        parent=await trace_of_workflow(engine, promise_id),
        started_at=opened_at,
        ended_at=max(settled.settled_at, opened_at),
        failed=outcome.kind if outcome.kind in _FAILURES else None,
        linked=linked,
    )
