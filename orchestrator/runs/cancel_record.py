"""The record of a cancel: a promise beside the workflow's root whose task withdraws what the workflow waits for.

An engine may forget the workflow before it forgets the cancel, and then run another workflow under the same id. So a
record is for one start of the id, and counts only if it holds what `cancellation` writes.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from orchestrator.durable.opened_at import opened_at
from orchestrator.engine import Engine
from orchestrator.errors import UnknownPromise
from orchestrator.stored_names import NONCE_TAG

if TYPE_CHECKING:
    from resonate.context import Context as SDKContext
    from resonate.types import PromiseRecord

    from orchestrator.engine.promises import Promises

#: The function that the task of such a promise names.
CANCEL: Final = "countersign.cancel"


def cancel_ids(root: PromiseRecord) -> tuple[str, ...]:
    """Return the ids of the promises that may record a cancel of this workflow, in order of their use.

    The last one names this start of the workflow's id, and so is for no other. A workflow that an earlier release
    started has another id before it, and that promise may come from an earlier workflow with the same id.
    """
    bound = f"{root.id}~{root.tags.get(NONCE_TAG, root.created_at)}~cancel"

    return (bound,) if opened_at(root) is not None else (f"{root.id}~cancel", bound)


def is_cancel_of(request: PromiseRecord, root: PromiseRecord) -> bool:
    """Return whether a promise under one of the `cancel_ids` says that this very workflow is to be cancelled."""
    serves = request.id == cancel_ids(root)[-1] or request.created_at >= root.created_at
    asks = request.param.data

    return serves and isinstance(asks, dict) and (asks.get("func"), asks.get("args")) == (CANCEL, [{"root": root.id}])


async def find_cancel(promises: Promises, root: PromiseRecord) -> PromiseRecord | None:
    """Return the record of the cancel of this very workflow, or None if nobody requested one.

    Raises:
        EngineUnavailable: no reply in time.
    """
    for promise_id in cancel_ids(root):
        with contextlib.suppress(UnknownPromise):
            request = await promises.get(promise_id)

            if is_cancel_of(request, root):
                return request

    return None


async def cancel_requested(ctx: SDKContext) -> bool:
    """Return, as a step, whether somebody asked to cancel this workflow."""
    promises = ctx.get_dependency(Engine).promises

    return await find_cancel(promises, await promises.get(ctx.info.origin_id)) is not None
