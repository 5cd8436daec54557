"""Continuing from what the file holds, after a restart or after memory became unreliable."""

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
    """One attempt at a time. Callers that come while it is under way share it, and may give up without ending it."""

    def __init__(self) -> None:
        self._attempt: asyncio.Future[None] | None = None

    async def make(self, attempt: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Return once an attempt has succeeded; raise what it raises."""
        if self._attempt is None or self._attempt.done():
            self._attempt = asyncio.ensure_future(attempt())
            self._attempt.add_done_callback(
                lambda it: it.cancelled() or it.exception()
            )  # the callers may have given up

        await asyncio.shield(self._attempt)


def open_and_rebuild(journal: Journal, clock: Clock) -> tuple[Recovered, IndexedState]:
    """Open the file, and return what it holds and the state built from that.

    Raises:
        EngineInUse, JournalUnusable: as `Journal.open`.
    """
    recovered = journal.open()

    try:
        return recovered, rebuilt(recovered, max(recovered.at, clock()))
    except (KeyError, ValueError) as error:
        journal.close(checkpoint=False)
        raise JournalUnusable(f"{journal.path} is damaged: its records contradict each other") from error


def reload_and_rebuild(journal: Journal, now: int) -> tuple[Recovered, IndexedState]:
    """Read the open file again, and return what it holds and the state built from that.

    Raises:
        sqlite3.Error, ImageError: as `Journal.reload`.
    """
    recovered = journal.reload()
    return recovered, rebuilt(recovered, now)


def rebuilt(recovered: Recovered, now: int) -> IndexedState:
    """Return the state built from the file's lineages. They are removed from `recovered`, to be in memory only once."""
    state = IndexedState()

    while recovered.lineages:
        _, image = recovered.lineages.popitem()
        state.adopt(image, now)

    return state


def settle_leases(state: IndexedState, before: IndexedState, leases: Mapping[str, int], now: int) -> None:
    """Give back the tasks that nobody works on any more, and keep the tasks that still run in this process.

    The file does not hold leases that were taken. So a task that was leased in `before` and still runs is leased again.
    """
    for task in state.tasks.values():
        runs = leases.get(task.id) == task.version
        old = before.tasks.get(task.id)

        if task.state == "pending" and runs and old is not None and old.state == "acquired":
            state.apply(now, {"kind": "task.acquire", "id": task.id, "pid": old.pid, "ttl": old.ttl})
        elif task.state == "acquired" and not runs:
            state.apply(now, {"kind": "task.release", "id": task.id})

        state.take_outgoing()  # untaken tasks are announced later, all together


def untaken(state: IndexedState) -> list[str]:
    """Return the tasks that no worker has taken."""
    return [task.id for task in state.tasks.values() if task.state == "pending"]
