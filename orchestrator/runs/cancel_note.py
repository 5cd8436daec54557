"""Who cancelled a workflow and why, kept beside its root for whoever looks at it later. It decides nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Self

from orchestrator import stored_names
from orchestrator.durable.notes import read_note, write_note
from orchestrator.stored_names import NONCE_TAG

if TYPE_CHECKING:
    from collections.abc import Callable

    from resonate.types import PromiseRecord

    from orchestrator.engine.promises import Promises

#: How many characters of a reason are kept.
MAX_REASON: Final = 2000

_KEPT: Final = timedelta(days=400)


@dataclass(frozen=True, kw_only=True)
class CancelNote:
    """Who asked first for the cancel, by the name of an API key; why, if they said so; when, in ms since the epoch."""

    by: str
    reason: str
    at: int

    @classmethod
    def read(cls, record: PromiseRecord) -> Self | None:
        """Return what a record says, None if it is not such a note."""
        match record.param.data:
            case {"countersign": stored_names.FORMAT, "cancelled_by": str(by), "reason": str(reason), "at": int(at)}:
                return cls(by=by, reason=reason, at=at)
            case _:
                return None


async def note_cancel(
    promises: Promises, root: PromiseRecord, *, by: str, reason: str, clock: Callable[[], float]
) -> None:
    """Note who asks to cancel this workflow and why, unless somebody did before.

    Raises:
        EngineUnavailable: whether it is noted is unknown; repeating the call is safe.
    """
    now = clock()
    content = {
        "countersign": stored_names.FORMAT,
        "cancelled_by": by,
        "reason": reason[:MAX_REASON],
        "at": int(now * 1000),
    }
    await write_note(promises, _id_of(root), content, ends_at=int((now + _KEPT.total_seconds()) * 1000))


async def read_cancel_note(promises: Promises, root: PromiseRecord) -> CancelNote | None:
    """Return who asked first to cancel this workflow, None if nobody did.

    Raises:
        EngineUnavailable: as for any read.
    """
    record = await read_note(promises, _id_of(root))

    return None if record is None else CancelNote.read(record)


def _id_of(root: PromiseRecord) -> str:
    return f"{root.id}~{root.tags.get(NONCE_TAG, root.created_at)}~cancelled-by"
