"""Which wait a run answers for, where no link among the run's parameters says so.

It is a note named after the run, written by the step that triggered it. A hint reads it; the watcher knows the wait
anyway.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from orchestrator import stored_names
from orchestrator.durable.notes import read_note, write_note
from orchestrator.engine import Engine

if TYPE_CHECKING:
    from orchestrator.callbacks.address import Address
    from orchestrator.durable.context import Context
    from orchestrator.engine.promises import Promises

#: A run may be repaired, and so end again, after its wait is over.
_KEPT: Final = timedelta(days=7)


@dataclass(frozen=True, kw_only=True)
class IndexedWait:
    """The wait of a run: its promise, the callback's name, and when it was opened, as its `Address` says."""

    promise_id: str
    callback: str
    opened_at: int | None


async def index_run(ctx: Context, run_id: int, address: Address) -> None:
    """Note that this run answers for the wait of this address, as a step does that triggers it.

    Raises:
        EngineUnavailable, UnknownPromise: raised in a step, it makes the SDK try the step again.
    """
    wait = await address.record(ctx)
    content = {
        "countersign": stored_names.FORMAT,
        "run": run_id,
        "promise": address.promise_id,
        "callback": address.callback,
        "opened": address.opened_at,
    }
    ends_at = wait.timeout_at + int(_KEPT.total_seconds() * 1000)
    await write_note(ctx.get_dependency(Engine).promises, _id_of(run_id), content, ends_at=ends_at)


async def find_wait(promises: Promises, run_id: int) -> IndexedWait | None:
    """Return the wait that this run answers for, None if none was noted.

    Raises:
        EngineUnavailable: as for any read.
    """
    record = await read_note(promises, _id_of(run_id))

    match None if record is None else record.param.data:
        case {
            "countersign": stored_names.FORMAT,
            "run": int(),
            "promise": str(promise_id),
            "callback": str(callback),
            "opened": int() | None as opened,
        }:
            return IndexedWait(promise_id=promise_id, callback=callback, opened_at=opened)
        case _:
            return None


def _id_of(run_id: int) -> str:
    return f"countersign~run{run_id}~wait"
