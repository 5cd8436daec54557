"""The answer that came after another one had settled the wait, where the wait's terms say that it is kept.

It changes nothing: the first answer counts. It is a note beside the wait, and ends some days after the wait could have
ended.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from orchestrator.callbacks.outcomes import Outcome, envelope, is_envelope, read_outcome
from orchestrator.callbacks.terms import Terms
from orchestrator.durable.notes import read_note, write_note
from orchestrator.durable.opened_at import companion_id, opened_at

if TYPE_CHECKING:
    from resonate.types import PromiseRecord

    from orchestrator.callbacks.settlement import Settlement
    from orchestrator.engine.promises import Promises

_LATER: Final = "later"
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

    note_id = companion_id(wait, _LATER)
    content = envelope(note_id, outcome, ikey=ikey, delivery="", opened=opened_at(wait))
    ends = max(wait.timeout_at, settlement.settled.settled_at)
    await write_note(promises, note_id, content, ends_at=ends + int(_KEPT.total_seconds() * 1000))


async def read_later(promises: Promises, wait: PromiseRecord) -> Outcome | None:
    """Return the later answer to the wait of this record, None if none is kept.

    Raises:
        EngineUnavailable: as for any read.
    """
    if not Terms.read(wait).keeps_later:
        return None

    record = await read_note(promises, companion_id(wait, _LATER))

    if record is None or not is_envelope(record.param.data, record.id, opened_at(wait)):
        return None

    return read_outcome(record.param.data)
