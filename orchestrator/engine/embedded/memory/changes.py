"""The changes that a step of the state machine made, for the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from orchestrator.engine.embedded.disk.images import (
    ScheduleImage,
    changed_promise,
    encode,
    new_promise,
    packed,
    task_image,
)
from orchestrator.engine.embedded.memory.lineages import origin_of

if TYPE_CHECKING:
    from resonate.connections.local import ServerState

    from orchestrator.engine.embedded.disk.images import Image


class Changes(msgspec.Struct, frozen=True):
    """What changed: the encoded images per lineage, and the ids of promises that are settled now."""

    rows: list[tuple[str, bytes]]
    settled: list[str]


class ChangeLog:
    """The ids of everything that has changed, each once, until `take`."""

    __slots__ = ("_promises", "_schedules", "tasks")

    def __init__(self) -> None:
        self.tasks: dict[str, None] = {}
        self._promises: dict[str, bool] = {}
        self._schedules: dict[str, None] = {}

    def created(self, promise_id: str) -> None:
        """Record a new promise."""
        self._promises[promise_id] = True

    def promise(self, promise_id: str) -> None:
        """Record a changed promise."""
        self._promises.setdefault(promise_id, False)

    def task(self, task_id: str) -> None:
        """Record a new or changed task."""
        self.tasks[task_id] = None

    def schedule(self, schedule_id: str) -> None:
        """Record a schedule that was created or deleted."""
        self._schedules[schedule_id] = None

    def clear(self) -> None:
        """Forget all changes."""
        self._promises = {}
        self.tasks = {}
        self._schedules = {}

    def take(self, state: ServerState) -> Changes | None:
        """Return everything that has changed, as it is in the state now, and forget it; None if nothing has changed."""
        if not (self._promises or self.tasks or self._schedules):
            return None

        images: dict[str, list[Image]] = {}
        settled: list[str] = []

        for promise_id, is_new in self._promises.items():
            promise = state.promises[promise_id]
            promise.value = packed(promise.value)
            image = new_promise(promise) if is_new else changed_promise(promise)
            images.setdefault(origin_of(promise_id), []).append(image)

            if promise.state != "pending":
                settled.append(promise_id)

        for task_id in self.tasks:
            images.setdefault(origin_of(task_id), []).append(task_image(state.tasks[task_id]))

        for schedule_id in self._schedules:
            change = ScheduleImage(schedule_id, state.schedules.get(schedule_id))
            images.setdefault(origin_of(schedule_id), []).append(change)

        self.clear()
        return Changes([(origin, encode(batch)) for origin, batch in images.items()], settled)
