"""When a wait was opened, which distinguishes it from every earlier or later wait under the same promise id.

Promise ids repeat. After retention, after lost data or after a restored backup, a workflow that is started again opens
waits under the ids it used before. The moment comes from the promise's record, never from the clock of a worker, so
every process and every replay reads the same one.

A wait created before links carried this moment has no mark, and so keeps the links, codes and keys of that version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.errors import UnknownPromise
from orchestrator.stored_names import OPENING

if TYPE_CHECKING:
    from resonate.types import PromiseRecord

    from orchestrator.engine.promises import Promises

#: The tag that every wait and every workflow's root gets when it is created. A create request that finds an older
#: promise returns that one, unmarked.
MARK: Final = OPENING


def opened_at(record: PromiseRecord) -> int | None:
    """Return when the wait of this record was opened, in milliseconds since the epoch; None where it has no mark."""
    return record.created_at if MARK.items() <= record.tags.items() else None


async def read_wait(promises: Promises, promise_id: str, opened: int | None) -> PromiseRecord:
    """Return the record of the wait with this id that was opened at this moment.

    Raises:
        UnknownPromise: the engine does not hold this wait; it may hold a later one with the same id.
        EngineUnavailable: no reply in time.
    """
    record = await promises.get(promise_id)

    if opened_at(record) != opened:
        raise UnknownPromise(promise_id)

    return record


def companion_id(record: PromiseRecord, suffix: str) -> str:
    """Return the id of a root promise that serves the wait of this record and no other wait with its id."""
    opened = opened_at(record)
    stem = record.id.replace(":", "~")

    return f"{stem}~{suffix}" if opened is None else f"{stem}~{opened}~{suffix}"
