"""The state of the embedded engine: the SDK's state machine for very many lineages, which can be dropped and adopted.

Replies and messages are upstream's. The cost of a step does not grow with the number of lineages. Nothing here does
I/O, reads a clock or forgets anything by itself.

One rule differs. Upstream ends a promise at its deadline only where a task stands behind it. Here a promise that
somebody outside settles ends at its deadline too, as on resonate-pg and on Resonate servers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from resonate.connections.local import PENDING_RETRY_TTL, DurablePromise, OutgoingMessage, PTimeout, Task, TTimeout

from orchestrator.engine.embedded.disk.images import ScheduleImage, encode, new_promise, task_image
from orchestrator.engine.embedded.memory.indexes import CREATED, Indexed
from orchestrator.engine.embedded.memory.lineages import ancestors, is_transient, origin_of
from orchestrator.stored_names import PARENT_TAG

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from orchestrator.engine.embedded.disk.images import Image, LineageImage
    from orchestrator.engine.embedded.memory.changes import Changes

RETRY, LEASE = 0, 1
_NO_LEASES: Final[Mapping[str, int]] = {}


class IndexedState(Indexed):
    """`ServerState` for many lineages: the same replies and messages, at a cost per step that does not grow with them.

    Take `outgoing` with `take_outgoing`; do not replace it.
    """

    # Steps

    def apply(self, now: int, req: Any) -> dict[str, Any]:
        """Apply one flat request at `now` (milliseconds) and return the flat reply; see `ServerState.apply`."""
        self._now = now
        self._executes.clear()
        return super().apply(now, req)

    def tick(self, now: int, *, limit: int | None = None, leases: Mapping[str, int] = _NO_LEASES) -> None:
        """Do what is due at `now`: deadlines, lapsed leases, repeated announcements.

        `limit` bounds how many deadlines of either sort one call handles, the earliest first. The leases in `leases`
        (task id to version) do not lapse: they are prolonged, as by a heartbeat.
        """
        self._now = now
        promises = self._promise_deadlines.due(now, limit)
        tasks = self._task_deadlines.due(now, limit)

        if not promises and not tasks:
            return

        lapsing = [entry for entry in tasks if not (entry[3] == LEASE and self._prolong(entry[2], leases))]
        self.p_timeouts = [PTimeout(id=id_, timeout=at) for at, _, id_, _ in promises]
        self.t_timeouts = [TTimeout(id=id_, typ=kind, timeout=at) for at, _, id_, kind in lapsing]
        self._unreported = {id_ for _, _, id_, kind in lapsing if kind == RETRY}

        try:
            super().tick(now)
        finally:
            self._unreported = frozenset()
            self.p_timeouts, self.t_timeouts = [], []

        self._task_deadlines.forget(tasks)

    def next_due(self) -> int | None:
        """Return when `tick` next has something to do, in milliseconds; None if there is no deadline."""
        promise, task = self._promise_deadlines.next(), self._task_deadlines.next()

        if promise is None or task is None:
            return task if promise is None else promise

        return min(promise, task)

    def take_earliest_set(self) -> int | None:
        """Return the earliest deadline that was set since the last call, in milliseconds; None if none was."""
        promises, tasks = self._promise_deadlines, self._task_deadlines
        promise, promises.earliest_set = promises.earliest_set, None
        task, tasks.earliest_set = tasks.earliest_set, None

        if promise is None or task is None:
            return task if promise is None else promise

        return min(promise, task)

    def take_outgoing(self) -> list[OutgoingMessage]:
        """Return the messages of the last step, and forget them."""
        outgoing, self.outgoing = self.outgoing, []
        self._executes.clear()
        return outgoing

    def take_changes(self) -> Changes | None:
        """Return what has changed since the last call, None if nothing has."""
        return self._changed.take(self)

    def announce(self, task_ids: Iterable[str], now: int) -> list[OutgoingMessage]:
        """Return announcements of those tasks that no worker has taken and whose delay is over."""
        for task_id in task_ids:
            task = self.tasks.get(task_id)

            if task is None or task.state != "pending":
                continue

            promise = self.promises[task_id]
            address = promise.tags.get("resonate:target")

            if address is not None and _delay(promise) <= now:
                self.send_execute_message(address, task_id, task.version)

        return self.take_outgoing()

    # The rule that differs

    def promise_create(self, now: int, corr_id: Any, req: Any) -> dict[str, Any]:
        """Create a promise; see upstream."""
        response = super().promise_create(now, corr_id, req)

        if response["status"] == CREATED:
            self._set_plain_deadline(req["id"])

        return response

    def _set_plain_deadline(self, promise_id: str) -> None:
        """Set the deadline of a pending promise that somebody outside settles and that has no task.

        Unlike a task, it never keeps its lineage from being over. A promise that a worker settles gets no deadline, so
        steps cost nothing here.
        """
        promise = self.promises[promise_id]
        is_external = promise.tags.get("resonate:external") == "true"

        if is_external and promise.state == "pending" and promise_id not in self.tasks:
            self._promise_deadlines.set(promise_id, 0, promise.timeout_at)

    # Lineages

    def lineages(self) -> int:
        """Return how many lineages are held."""
        return len(self._lineages)

    def finished_before(self, cutoff: int, *, transient: bool = False) -> Iterator[str]:
        """Yield the lineages over before `cutoff` (milliseconds), the earliest first. Drop none while iterating."""
        return self._lineages.finished_before(cutoff, transient=transient)

    def finished_at(self, origin: str) -> int | None:
        """Return since when a lineage is over, None if it is open or unknown."""
        return self._lineages.finished_at(origin)

    def is_transient(self, origin: str) -> bool:
        """Return whether the root of a lineage is tagged to be dropped soon after the lineage is over."""
        return is_transient(self.promises.get(origin))

    def snapshot(self, origin: str) -> bytes:
        """Return the encoded images of everything in a lineage."""
        images: list[Image] = []
        lineage = self._lineages.of(origin)

        for promise_id in lineage.promises:
            images.append(new_promise(self.promises[promise_id]))
            task = self.tasks.get(promise_id)

            if task is not None:
                images.append(task_image(task))

        if lineage.schedules:
            images += [ScheduleImage(id_, stub) for id_, stub in self.schedules.items() if origin_of(id_) == origin]

        return encode(images)

    def adopt(self, image: LineageImage, now: int, *, finished_at: int | None = None) -> None:
        """Take in the records of a lineage that is not in memory. None of it is recorded as changed.

        If the lineage is over, it counts as over since `finished_at`; by default since its last promise was settled.
        """
        settled = [promise.settled_at for promise in image.promises.values() if promise.settled_at is not None]
        self._now = max(settled, default=now) if finished_at is None else finished_at

        for id_, stub in image.schedules.items():
            self.schedules[id_] = stub
            self._lineages.of(origin_of(id_)).schedules += 1

        for promise in image.promises.values():
            self.promises[promise.id] = promise

            for awaiter in promise.awaiters:
                self._awaiting.setdefault(awaiter, set()).add(promise.id)

        for task in image.tasks.values():
            self._adopt_task(task, now)

        for promise_id in image.promises:
            self._set_plain_deadline(promise_id)

        self._now = now
        self._changed.clear()

    def drop(self, origin: str) -> bool:
        """Forget a finished lineage. Return False, and forget nothing, if another lineage's task still needs it.

        The lineage then counts as over since now.
        """
        lineage = self._lineages.of(origin)

        if any(self.promises[promise_id].awaiters for promise_id in lineage.promises) or self._is_read(origin):
            self._lineages.reopen(origin)
            self._lineages.close(origin, self.promises[origin], self._now)
            return False

        dropped = set(lineage.promises)
        branches = {branch for id_ in dropped if (branch := self.promises[id_].tags.get("resonate:branch")) is not None}

        for branch in branches:
            rest = [id_ for id_ in self._branches[branch] if id_ not in dropped]

            if rest:
                self._branches[branch] = rest
            else:
                del self._branches[branch]

        for id_ in lineage.promises:
            self.catalogue.dropped(self.promises.pop(id_))
            self.tasks.pop(id_, None)
            self._awaiting.pop(id_, None)
            self._promise_deadlines.remove(id_)
            self._task_deadlines.remove(id_)

        self._lineages.remove(origin)
        return True

    def _is_read(self, origin: str) -> bool:
        """Return whether this is a sub-workflow whose parent may not have read yet how it ended: a task of its runs."""
        root = self.promises.get(origin)
        step_id = None if root is None else root.tags.get(PARENT_TAG)
        tasks = [] if step_id is None else [self.tasks.get(ancestor) for ancestor in ancestors(step_id)]

        return any(task is not None and task.state in {"pending", "acquired"} for task in tasks)

    def _adopt_task(self, task: Task, now: int) -> None:
        self.tasks[task.id] = task
        promise = self.promises[task.id]

        if promise.state == "pending":
            self.set_p_timeout(task.id, promise.timeout_at)

        if task.state == "pending":
            delay = _delay(promise)
            self.set_t_timeout(task.id, RETRY, delay if delay > now else now + PENDING_RETRY_TTL)
        elif task.state == "acquired":
            self.set_t_timeout(task.id, LEASE, now + (task.ttl or PENDING_RETRY_TTL))

    def _prolong(self, task_id: str, leases: Mapping[str, int]) -> bool:
        task = self.tasks.get(task_id)

        if task is None or task.state != "acquired" or leases.get(task_id) != task.version:
            return False

        self._task_deadlines.set(task_id, LEASE, self._now + (task.ttl or PENDING_RETRY_TTL))
        return True


def _delay(promise: DurablePromise) -> int:
    """Return the time in milliseconds before which the task of a promise is not announced; 0 if it has no delay."""
    try:
        return int(promise.tags.get("resonate:delay", 0))
    except ValueError:
        return 0
