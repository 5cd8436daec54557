"""Going on from what the file holds: after a restart, and after memory could not be trusted any more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from orchestrator.engine.embedded.memory.state import IndexedState
from orchestrator.errors import JournalUnusable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from typing import Any

    from resonate.timing import Clock

    from orchestrator.engine.embedded.disk.journal import Journal
    from orchestrator.engine.embedded.disk.writes import Recovered


class SharedAttempt:
    """One attempt at a time: whoever wants one while it is under way shares it, and may give up without ending it."""

    def __init__(self) -> None:
        self._attempt: asyncio.Future[None] | None = None

    async def make(self, attempt: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Return when an attempt has succeeded; raises what it raises."""
        if self._attempt is None or self._attempt.done():
            self._attempt = asyncio.ensure_future(attempt())
            self._attempt.add_done_callback(lambda it: it.cancelled() or it.exception())  # nobody may be left to ask

        await asyncio.shield(self._attempt)


def open_and_rebuild(journal: Journal, clock: Clock) -> tuple[Recovered, IndexedState]:
    """Open the file, and return what is in it and the state made of that.

    Raises:
        EngineInUse, JournalUnusable: as `Journal.open`.
    """
    recovered = journal.open()

    try:
        return recovered, rebuilt(recovered, max(recovered.at, clock()))
    except (KeyError, ValueError) as error:
        journal.close(checkpoint=False)
        raise JournalUnusable(f"{journal.path} is damaged: its records do not fit together") from error


def reload_and_rebuild(journal: Journal, now: int) -> tuple[Recovered, IndexedState]:
    """Read the open file again, and return what is in it and the state made of that.

    Raises:
        sqlite3.Error, ImageError: as `Journal.reload`.
    """
    recovered = journal.reload()
    return recovered, rebuilt(recovered, now)


def rebuilt(recovered: Recovered, now: int) -> IndexedState:
    """Return the state that the file's lineages make; takes them out of `recovered`, to hold them once."""
    state = IndexedState()

    while recovered.lineages:
        _, image = recovered.lineages.popitem()
        state.adopt(image, now)

    return state


def settle_leases(state: IndexedState, before: IndexedState, leases: Mapping[str, int], now: int) -> None:
    """Give back the tasks that nobody works on any more, and keep those that run on in this process.

    A lease taken is not in the file: so a task that `before` had leased, and that still runs, is leased anew.
    """
    for task in state.tasks.values():
        runs = leases.get(task.id) == task.version
        old = before.tasks.get(task.id)

        if task.state == "pending" and runs and old is not None and old.state == "acquired":
            state.apply(now, {"kind": "task.acquire", "id": task.id, "pid": old.pid, "ttl": old.ttl})
        elif task.state == "acquired" and not runs:
            state.apply(now, {"kind": "task.release", "id": task.id})

        state.take_outgoing()  # tasks that nobody has taken are announced all together


def untaken(state: IndexedState) -> list[str]:
    """Return the tasks that nobody has taken."""
    return [task.id for task in state.tasks.values() if task.state == "pending"]
