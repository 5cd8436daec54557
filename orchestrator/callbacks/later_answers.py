"""The answer that came after another one had settled the wait, where the wait's terms say that it is kept.

It changes nothing: the first answer counts. It is a small promise of its own beside the wait, which nobody settles and
which ends by itself some days after the wait could have ended.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from orchestrator.callbacks.outcomes import Outcome, envelope, is_envelope, read_outcome
from orchestrator.callbacks.terms import Terms
from orchestrator.durable.opened_at import companion_id, opened_at
from orchestrator.durable.scheduling import own_tags
from orchestrator.errors import UnknownPromise

if TYPE_CHECKING:
    from resonate.types import PromiseRecord

    from orchestrator.callbacks.settlement import Settlement
    from orchestrator.engine.promises import Promises

_KEPT: Final = timedelta(days=7)


async def keep_if_later(
    promises: Promises, wait: PromiseRecord, outcome: Outcome, ikey: str, settlement: Settlement
) -> None:
    """Keep this answer if somebody else's has settled the wait before and the wait's terms say so; the first such one.

    Raises:
        EngineUnavailable: whether it is kept is unknown; repeating the call is safe.
    """
    differs = settlement.verdict == "other" or (settlement.verdict == "ikey_reused" and outcome.by == "watcher")

    if not differs or not Terms.read(wait).keeps_later:
        return

    promise_id = _id_of(wait)
    ends = max(wait.timeout_at, settlement.settled.settled_at)
    await promises.create(
        promise_id,
        timeout_at=ends + int(_KEPT.total_seconds() * 1000),
        param=envelope(promise_id, outcome, ikey=ikey, delivery="", opened=opened_at(wait)),
        tags=own_tags(promise_id, transient=True),
    )


async def read_later(promises: Promises, wait: PromiseRecord) -> Outcome | None:
    """Return the later answer to the wait of this record, None if none is kept.

    Raises:
        EngineUnavailable: as for any read.
    """
    if not Terms.read(wait).keeps_later:
        return None

    try:
        record = await promises.get(_id_of(wait))
    except UnknownPromise:
        return None

    kept = record.param.data

    return read_outcome(kept) if is_envelope(kept, record.id, opened_at(wait)) else None


def _id_of(wait: PromiseRecord) -> str:
    return companion_id(wait, "later")
