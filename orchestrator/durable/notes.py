"""Notes: small promises that keep a fact beside a wait, a step or a run. Nobody settles them; they end by themselves.

A note is written once, so of two that are written at the same instant one is kept, over all processes and on every
engine. A series of notes has numbers without gaps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.durable.scheduling import own_tags
from orchestrator.errors import UnknownPromise
from orchestrator.stored_names import TRANSIENT_TAG

if TYPE_CHECKING:
    from collections.abc import Callable

    from resonate.types import PromiseRecord

    from orchestrator.engine.promises import Promises


async def write_note(promises: Promises, note_id: str, content: Any, *, ends_at: int) -> PromiseRecord:
    """Write this note unless it exists, and return the one that is kept. It ends at `ends_at`, in ms since the epoch.

    Raises:
        EngineUnavailable: whether it is written is unknown; repeating the call is safe.
    """
    tags = {**own_tags(note_id), TRANSIENT_TAG: "true"}

    return await promises.create(note_id, timeout_at=ends_at, param=content, tags=tags)


async def read_note(promises: Promises, note_id: str) -> PromiseRecord | None:
    """Return the record of this note, whose param has its content; None if there is none.

    Raises:
        EngineUnavailable: as for any read.
    """
    try:
        return await promises.get(note_id)
    except UnknownPromise:
        return None


async def last_note(
    promises: Promises, id_of: Callable[[int], str], *, most: int = 2**20
) -> tuple[int, PromiseRecord | None]:
    """Return the number of the last note of a series, 0 if there is none, and its record.

    Numbers begin at 1 and end at `most` at the latest. One read finds an empty series; else it takes about twice as
    many as the number has bits.

    Raises:
        EngineUnavailable: as for any read.
    """
    below, above = 0, 1
    last: PromiseRecord | None = None

    while above <= most and (found := await read_note(promises, id_of(above))) is not None:
        below, above, last = above, above * 2, found

    above = min(above, most + 1)

    while above - below > 1:
        middle = (below + above) // 2
        found = await read_note(promises, id_of(middle))

        if found is None:
            above = middle
        else:
            below, last = middle, found

    return below, last
