"""The SDK's in-process state machine, with indexes where it scans, and a list of what each step changed.

The rules are upstream's own code, inherited: only what reads every promise, task or timeout to find a few is replaced.
It remembers which records a request or a tick changed (`take_changes`), and which lineages are over, so that they can
be dropped. It does no I/O, reads no clock and forgets nothing by itself.

Not reported as changed, because a restart loses nothing by them: a lease taken or prolonged (leases die with the
process), and when an undelivered task is announced again (a restart announces all of them).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from resonate.connections.local import (
    PENDING_RETRY_TTL,
    DurablePromise,
    OutgoingMessage,
    PTimeout,
    ServerState,
    Task,
    TTimeout,
    extract_action_data,
)
from resonate.ids import ORIGIN_SEP

from orchestrator.engine.deadlines import Deadlines
from orchestrator.engine.images import ScheduleImage, changed_promise, encode, new_promise, packed, task_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from orchestrator.engine.images import Image, LineageImage

TRANSIENT_TAG: Final = "countersign:transient"
RETRY, LEASE = 0, 1
SHARED_STRINGS = 4096
_NO_LEASES: Final[Mapping[str, int]] = {}


def origin_of(promise_id: str) -> str:
    """Return the lineage of an id: everything before its first colon."""
    return promise_id.partition(ORIGIN_SEP)[0]


class Changes(msgspec.Struct, frozen=True):
    """What changed: the images per lineage, encoded, and the ids of promises that are settled now."""

    rows: list[tuple[str, bytes]]
    settled: list[str]


class Lineage(msgspec.Struct, gc=False):
    """Bookkeeping of one lineage: its promises in order of creation, how many of its tasks may still run."""

    promises: list[str]
    running: int = 0
    schedules: int = 0


class _Watched[T](dict[str, T]):
    """A dict that tells of every assignment; upstream adds its records to it."""

    __slots__ = ("_added",)

    def __init__(self, added: Callable[[T], None]) -> None:
        super().__init__()
        self._added = added

    def __setitem__(self, key: str, value: T) -> None:
        super().__setitem__(key, value)
        self._added(value)


class IndexedState(ServerState):
    """`ServerState` for many lineages: same answers, same messages; the cost of a step does not grow with their number.

    `outgoing` must be taken with `take_outgoing`, not replaced.
    """

    def __init__(self) -> None:
        super().__init__()
        self.promises = _Watched(self._promise_added)
        self.tasks = _Watched(self._task_added)
        self._lineages: dict[str, Lineage] = {}
        self._branches: dict[str, list[str]] = {}
        self._awaiting: dict[str, set[str]] = {}
        self._promise_deadlines = Deadlines()
        self._task_deadlines = Deadlines()
        self._executes: dict[str, OutgoingMessage] = {}
        self._finished: tuple[dict[str, int], dict[str, int]] = ({}, {})
        self._changed_promises: dict[str, bool] = {}
        self._changed_tasks: dict[str, None] = {}
        self._changed_schedules: dict[str, None] = {}
        self._unreported: frozenset[str] | set[str] = frozenset()
        self._strings = {word: word for word in ("true", "false", "global", "local")}
        self._now = 0

    # Steps

    def apply(self, now: int, req: Any) -> dict[str, Any]:
        """Apply one flat request at `now` (milliseconds) and return the flat answer; see `ServerState.apply`."""
        self._now = now
        self._executes.clear()
        return super().apply(now, req)

    def tick(self, now: int, *, limit: int | None = None, leases: Mapping[str, int] = _NO_LEASES) -> None:
        """Do what is due at `now`: deadlines, lapsed leases, repeated announcements.

        `limit` bounds how many deadlines of either sort one call handles, earliest first. `leases` (task id to version)
        are kept: they are prolonged, as by a heartbeat, rather than let lapse.
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
        """Return when `tick` next has something to do, in milliseconds; None when never."""
        times = [at for at in (self._promise_deadlines.next(), self._task_deadlines.next()) if at is not None]
        return min(times, default=None)

    def take_outgoing(self) -> list[OutgoingMessage]:
        """Return the messages of the last step, and forget them."""
        outgoing, self.outgoing = self.outgoing, []
        self._executes.clear()
        return outgoing

    def take_changes(self) -> Changes | None:
        """Return what has changed since the last call, None when nothing has."""
        if not (self._changed_promises or self._changed_tasks or self._changed_schedules):
            return None

        images: dict[str, list[Image]] = {}
        settled: list[str] = []

        for promise_id, is_new in self._changed_promises.items():
            promise = self.promises[promise_id]
            promise.value = packed(promise.value)
            image = new_promise(promise) if is_new else changed_promise(promise)
            images.setdefault(origin_of(promise_id), []).append(image)

            if promise.state != "pending":
                settled.append(promise_id)

        for task_id in self._changed_tasks:
            images.setdefault(origin_of(task_id), []).append(task_image(self.tasks[task_id]))

        for schedule_id in self._changed_schedules:
            change = ScheduleImage(schedule_id, self.schedules.get(schedule_id))
            images.setdefault(origin_of(schedule_id), []).append(change)

        self._forget_changes()
        return Changes([(origin, encode(batch)) for origin, batch in images.items()], settled)

    def announce(self, task_ids: Iterable[str], now: int) -> list[OutgoingMessage]:
        """Return an announcement of those of the tasks that nobody has taken and whose time has come."""
        for task_id in task_ids:
            task = self.tasks.get(task_id)

            if task is None or task.state != "pending":
                continue

            promise = self.promises[task_id]
            address = promise.tags.get("resonate:target")

            if address is not None and _delay(promise) <= now:
                self.send_execute_message(address, task_id, task.version)

        return self.take_outgoing()

    # Lineages

    def lineages(self) -> int:
        """Return how many lineages are held."""
        return len(self._lineages)

    def finished_before(self, cutoff: int, *, transient: bool = False) -> Iterator[str]:
        """Give the lineages that were over before `cutoff` (milliseconds), longest first. Drop none while iterating."""
        for origin, at in self._finished[transient].items():
            if at >= cutoff:
                return

            yield origin

    def finished_at(self, origin: str) -> int | None:
        """Return when a lineage was over, None when it is not or is unknown."""
        return self._finished[0].get(origin, self._finished[1].get(origin))

    def is_transient(self, origin: str) -> bool:
        """Return whether the root of a lineage asks to be dropped soon."""
        root = self.promises.get(origin)
        return root is not None and root.tags.get(TRANSIENT_TAG) == "true"

    def snapshot(self, origin: str) -> bytes:
        """Return the images of everything in a lineage, encoded."""
        images: list[Image] = []
        lineage = self._lineages[origin]

        for promise_id in lineage.promises:
            images.append(new_promise(self.promises[promise_id]))
            task = self.tasks.get(promise_id)

            if task is not None:
                images.append(task_image(task))

        if lineage.schedules:
            images += [ScheduleImage(id_, stub) for id_, stub in self.schedules.items() if origin_of(id_) == origin]

        return encode(images)

    def adopt(self, image: LineageImage, now: int, *, finished_at: int | None = None) -> None:
        """Take in the records of a lineage that is not held; none of it is reported as changed.

        `finished_at` is when it counts as over, should it be; by default when its last promise was settled.
        """
        settled = [promise.settled_at for promise in image.promises.values() if promise.settled_at is not None]
        self._now = max(settled, default=now) if finished_at is None else finished_at

        for id_, stub in image.schedules.items():
            self.schedules[id_] = stub
            self._lineage(origin_of(id_)).schedules += 1

        for promise in image.promises.values():
            self.promises[promise.id] = promise

            for awaiter in promise.awaiters:
                self._awaiting.setdefault(awaiter, set()).add(promise.id)

        for task in image.tasks.values():
            self._adopt_task(task, now)

        self._now = now
        self._forget_changes()

    def drop(self, origin: str) -> bool:
        """Forget a finished lineage. False, and nothing forgotten, when another one's task awaits something in it."""
        lineage = self._lineages[origin]

        if any(self.promises[promise_id].awaiters for promise_id in lineage.promises):
            finished = self._finished[self.is_transient(origin)]
            finished.pop(origin, None)
            finished[origin] = self._now
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
            del self.promises[id_]
            self.tasks.pop(id_, None)
            self._awaiting.pop(id_, None)
            self._promise_deadlines.remove(id_)
            self._task_deadlines.remove(id_)

        del self._lineages[origin]
        self._not_finished(origin)
        return True

    # Overridden: what upstream finds by scanning

    def preload(self, promise_id: str) -> list[dict[str, Any]]:
        """Return the records of the other promises of the same branch."""
        promise = self.promises.get(promise_id)
        branch = promise.tags.get("resonate:branch") if promise is not None else None

        if branch is None:
            return []

        return [self.promises[id_].to_record() for id_ in self._branches[branch] if id_ != promise_id]

    def enqueue_settle(self, promise_id: str) -> None:
        """Fulfil the task of a settled promise; upstream's rules, without its scan for what the task awaited."""
        task = self.tasks.get(promise_id)

        if task is None or task.state == "fulfilled":
            if task is None:
                super().enqueue_settle(promise_id)

            return

        task.state = "fulfilled"
        task.pid = None
        task.ttl = None
        task.resumes.clear()
        self.del_t_timeout(promise_id)

        for awaited in self._awaiting.pop(promise_id, ()):
            promise = self.promises.get(awaited)

            if promise is not None and promise_id in promise.awaiters:
                promise.awaiters.discard(promise_id)
                self._changed_promises.setdefault(awaited, False)

    def send_execute_message(self, address: str, task_id: str, version: int) -> None:
        """Queue the announcement of a task, in place of one already queued."""
        message = {"kind": "execute", "data": {"task": {"id": task_id, "version": version}}}
        queued = self._executes.get(task_id)

        if queued is None:
            queued = OutgoingMessage(address=address, message=message)
            self._executes[task_id] = queued
            self.outgoing.append(queued)
        else:
            queued.address = address
            queued.message = message

    def set_p_timeout(self, promise_id: str, timeout: int) -> None:
        """Set the deadline of a promise; from now on its lineage is not over."""
        if self._promise_deadlines.set(promise_id, 0, timeout):
            origin = origin_of(promise_id)
            self._lineage(origin).running += 1
            self._not_finished(origin)

    def del_p_timeout(self, promise_id: str) -> None:
        """Remove the deadline of a promise. Upstream calls this for every promise it settles."""
        origin = origin_of(promise_id)
        self._changed_promises.setdefault(promise_id, False)

        if self._promise_deadlines.remove(promise_id):
            self._lineage(origin).running -= 1

        self._check_finished(origin)

    def set_t_timeout(self, task_id: str, typ: int, timeout: int) -> None:
        """Set when the lease of a task lapses, or when it is announced again."""
        self._task_deadlines.set(task_id, typ, timeout)

        if task_id not in self._unreported:
            self._changed_tasks[task_id] = None

    def del_t_timeout(self, task_id: str) -> None:
        """Remove what `set_t_timeout` set."""
        self._task_deadlines.remove(task_id)
        self._changed_tasks[task_id] = None

    # Overridden: upstream's code, and a note of what it changed

    def resume_awaiters(self, promise_id: str, now: int) -> None:
        """Resume the tasks that awaited a settled promise."""
        promise = self.promises.get(promise_id)

        if promise is None or not promise.awaiters:
            return

        self._changed_promises.setdefault(promise_id, False)

        for awaiter in promise.awaiters:
            awaited = self._awaiting.get(awaiter)

            if awaited is not None:
                awaited.discard(promise_id)

            if awaiter in self.tasks:
                self._changed_tasks[awaiter] = None

        super().resume_awaiters(promise_id, now)

    def notify_subscribers(self, promise_id: str) -> None:
        """Tell the listeners of a settled promise, and forget them."""
        promise = self.promises.get(promise_id)

        if promise is not None and promise.subscribers:
            self._changed_promises.setdefault(promise_id, False)
            super().notify_subscribers(promise_id)

    def promise_register_listener(self, corr_id: Any, req: Any) -> dict[str, Any]:
        """Register a listener; see upstream."""
        response = super().promise_register_listener(corr_id, req)

        if response["status"] == 200 and response["promise"]["state"] == "pending":  # noqa: PLR2004
            self._changed_promises.setdefault(req["awaited"], False)

        return response

    def task_acquire(self, now: int, corr_id: Any, req: Any) -> dict[str, Any]:
        """Lease a task; see upstream. Not a change that is reported: a lease does not outlive the process."""
        return self._without_report(super().task_acquire, now, corr_id, req)

    def task_heartbeat(self, now: int, corr_id: Any, req: Any) -> dict[str, Any]:
        """Prolong leases; see upstream. Not reported either."""
        return self._without_report(super().task_heartbeat, now, corr_id, req)

    def task_suspend(self, now: int, corr_id: Any, req: Any) -> dict[str, Any]:
        """Suspend a task on what it awaits; see upstream."""
        response = super().task_suspend(now, corr_id, req)

        if response["status"] not in {200, 300}:
            return response

        task_id = req["id"]
        actions = req.get("actions")
        self._changed_tasks[task_id] = None

        for action in actions if isinstance(actions, list) else ():
            data = extract_action_data(action)
            awaited = data.get("awaited") if isinstance(data, dict) else None
            promise = self.promises.get(awaited) if isinstance(awaited, str) else None

            if promise is not None and task_id in promise.awaiters:
                self._awaiting.setdefault(task_id, set()).add(promise.id)
                self._changed_promises.setdefault(promise.id, False)

        return response

    def schedule_create(self, now: int, corr_id: Any, req: Any) -> dict[str, Any]:
        """Create a schedule; see upstream."""
        response = super().schedule_create(now, corr_id, req)

        if response["status"] == 201:  # noqa: PLR2004
            self._changed_schedules[req["id"]] = None
            self._lineage(origin_of(req["id"])).schedules += 1
            self._not_finished(origin_of(req["id"]))

        return response

    def schedule_delete(self, corr_id: Any, req: Any) -> dict[str, Any]:
        """Delete a schedule; see upstream."""
        response = super().schedule_delete(corr_id, req)

        if response["status"] == 200:  # noqa: PLR2004
            self._changed_schedules[req["id"]] = None
            origin = origin_of(req["id"])
            self._lineage(origin).schedules -= 1
            self._check_finished(origin)

        return response

    # Bookkeeping

    def _lineage(self, origin: str) -> Lineage:
        lineage = self._lineages.get(origin)

        if lineage is None:
            lineage = self._lineages[origin] = Lineage([])

        return lineage

    def _promise_added(self, promise: DurablePromise) -> None:
        origin = origin_of(promise.id)
        promise.param = packed(promise.param)
        promise.tags = {self._shared(key): self._shared(value, promise.id) for key, value in promise.tags.items()}
        self._lineage(origin).promises.append(promise.id)
        self._changed_promises[promise.id] = True
        branch = promise.tags.get("resonate:branch")

        if branch is not None:
            self._branches.setdefault(branch, []).append(promise.id)

        if promise.state != "pending":
            self._check_finished(origin)

    def _task_added(self, task: Task) -> None:
        self._changed_tasks[task.id] = None

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

    def _check_finished(self, origin: str) -> None:
        root = self.promises.get(origin)
        lineage = self._lineages.get(origin)

        if root is None or root.state == "pending" or lineage is None or lineage.running or lineage.schedules:
            return

        self._finished[root.tags.get(TRANSIENT_TAG) == "true"].setdefault(origin, self._now)

    def _not_finished(self, origin: str) -> None:
        self._finished[0].pop(origin, None)
        self._finished[1].pop(origin, None)

    def _prolong(self, task_id: str, leases: Mapping[str, int]) -> bool:
        task = self.tasks.get(task_id)

        if task is None or task.state != "acquired" or leases.get(task_id) != task.version:
            return False

        self._task_deadlines.set(task_id, LEASE, self._now + (task.ttl or PENDING_RETRY_TTL))
        return True

    def _without_report(
        self, step: Callable[[int, Any, Any], dict[str, Any]], now: int, corr_id: object, req: object
    ) -> dict[str, Any]:
        before = dict(self._changed_tasks)
        response = step(now, corr_id, req)
        self._changed_tasks = before
        return response

    def _forget_changes(self) -> None:
        self._changed_promises = {}
        self._changed_tasks = {}
        self._changed_schedules = {}

    def _shared(self, text: str, own_id: str = "") -> str:
        """Return an equal string that is held already: tags repeat ids, addresses and names thousands of times."""
        if text == own_id:
            return own_id

        held = self._strings.get(text)

        if held is not None:
            return held

        root = self.promises.get(text)

        if root is not None:
            return root.id

        if len(self._strings) < SHARED_STRINGS and ORIGIN_SEP + "//" in text:
            self._strings[text] = text

        return text


def _delay(promise: DurablePromise) -> int:
    """Return before when, in milliseconds, the task of a promise is not announced; 0 for no such time."""
    try:
        return int(promise.tags.get("resonate:delay", 0))
    except ValueError:
        return 0
