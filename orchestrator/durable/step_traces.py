"""The spans of steps, and the trace of a workflow as its root holds it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from orchestrator.engine import Engine
from orchestrator.errors import EngineUnavailable, UnknownPromise
from orchestrator.tracing import trace_of

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from resonate.context import Context as SDKContext


def traced_step(ctx: SDKContext, name: str) -> AbstractContextManager[None]:
    """Make a span of the block, which runs this step."""
    attributes = {"countersign.step": name, "countersign.promise": ctx.info.id}

    return ctx.get_dependency(Engine).tracing.step(f"step {name}", attributes)


async def trace_of_workflow(engine: Engine, promise_id: str) -> str | None:
    """Return the traceparent of the workflow that this promise belongs to. Reads nothing while traces are off."""
    if not engine.tracing.on:
        return None

    with contextlib.suppress(EngineUnavailable, UnknownPromise):
        root = await engine.promises.get(promise_id.partition(":")[0])

        match root.param.data:
            case {"args": [start, *_]}:
                return trace_of(start)

    return None
