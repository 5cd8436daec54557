"""The SDK's in-process state machine, with indexes in place of its scans, and a record of everything that it changes.

The rules are upstream's own code, inherited. Only the methods that read every promise, task or timeout to find a few
are replaced, and the methods that change a record are wrapped. One reply is shorter than upstream's: that to a fenced
request (see `preload`). This is the half of `IndexedState` that upstream's code calls.

Two changes are not recorded, because a restart loses nothing by them: a lease that is taken or prolonged (leases end
with the process), and the time when an undelivered task is announced again (a restart announces all of them).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resonate.connections.local import DurablePromise, OutgoingMessage, ServerState, Task, extract_action_data

from orchestrator.engine.embedded.memory.catalogue import Catalogue
from orchestrator.engine.embedded.memory.changes import ChangeLog
from orchestrator.engine.embedded.memory.compact import NO_IDS, Compactor, compact_task, own
from orchestrator.engine.embedded.memory.deadlines import Deadlines
from orchestrator.engine.embedded.memory.lineages import Lineages, origin_of

if TYPE_CHECKING:
    from collections.abc import Callable

CREATED = 201
_FOUND, _REDIRECT = 200, 300


class _Converting[T](dict[str, T]):
    """A dict that converts each value assigned to it; upstream adds its records to it."""

    __slots__ = ("_convert",)

    def __init__(self, convert: Callable[[T], T]) -> None:
        super().__init__()
        self._convert = convert

    def __setitem__(self, key: str, value: T) -> None:
        super().__setitem__(key, self._convert(value))


class Indexed(ServerState):
    """`ServerState` without its scans."""

    def __init__(self) -> None:
        super().__init__()
        self.promises = _Converting(self._promise_added)
        self.tasks = _Converting(self._task_added)
        self._lineages = Lineages()
        self._changed = ChangeLog()
        self._branches: dict[str, list[str]] = {}
        self._awaiting: dict[str, set[str]] = {}
        self._promise_deadlines = Deadlines()
        self._task_deadlines = Deadlines()
        self.catalogue = Catalogue()
        self._executes: dict[str, OutgoingMessage] = {}
        #: Tasks that the step under way announces again.
        self._unreported: frozenset[str] | set[str] = frozenset()
        self._compactor = Compactor(self.promises)
        #: Whether the step under way is a fenced request.
        self._fenced = False
        self._now = 0

    # Overridden: what upstream finds by scanning

    def preload(self, promise_id: str) -> list[dict[str, Any]]:
        """Return the records of the other promises of the same branch; none in the reply to a fenced request.

        A worker gets all of them with its task. Repeating them in every reply would make a workflow's cost grow with
        the square of its steps. No worker relies on them: on Postgres no reply contains any.
        """
        if self._fenced:
            return []

        promise = self.promises.get(promise_id)
        branch = promise.tags.get("resonate:branch") if promise is not None else None

        if branch is None:
            return []

        return [self.promises[id_].to_record() for id_ in self._branches[branch] if id_ != promise_id]

    def enqueue_settle(self, promise_id: str) -> None:
        """Fulfil the task of a settled promise: upstream's rules, without its scan for what the task awaited."""
        task = self.tasks.get(promise_id)

        if task is None or task.state == "fulfilled":
            if task is None:
                super().enqueue_settle(promise_id)

            return

        task.state = "fulfilled"
        task.pid = None
        task.ttl = None
        task.resumes = NO_IDS
        self.del_t_timeout(promise_id)

        for awaited in self._awaiting.pop(promise_id, ()):
            promise = self.promises.get(awaited)

            if promise is not None and promise_id in promise.awaiters:
                promise.awaiters.discard(promise_id)
                self._changed.promise(awaited)

    def send_execute_message(self, address: str, task_id: str, version: int) -> None:
        """Queue the announcement of a task; it replaces one that is already queued."""
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
        """Set the deadline of a promise. Its lineage is not over then."""
        if self._promise_deadlines.set(promise_id, 0, timeout):
            origin = origin_of(promise_id)
            self._lineages.of(origin).running += 1
            self._lineages.reopen(origin)

    def del_p_timeout(self, promise_id: str) -> None:
        """Remove the deadline of a promise. Upstream calls this for every promise it settles."""
        origin = origin_of(promise_id)
        self._changed.promise(promise_id)
        promise = self.promises.get(promise_id)

        if promise is not None:
            self.catalogue.settled(promise)

        # Only promises with a task were counted (see `set_p_timeout`); others may have a deadline as well.
        if self._promise_deadlines.remove(promise_id) and promise_id in self.tasks:
            self._lineages.of(origin).running -= 1

        self._lineages.close(origin, promise if promise_id == origin else self.promises.get(origin), self._now)

    def set_t_timeout(self, task_id: str, typ: int, timeout: int) -> None:
        """Set when the lease of a task lapses, or when it is announced again."""
        self._task_deadlines.set(task_id, typ, timeout)

        if task_id not in self._unreported:
            self._changed.task(task_id)

    def del_t_timeout(self, task_id: str) -> None:
        """Remove what `set_t_timeout` set."""
        self._task_deadlines.remove(task_id)
        self._changed.task(task_id)

    # Overridden: upstream's code, and a record of what it changed

    def resume_awaiters(self, promise_id: str, now: int) -> None:
        """Resume the tasks that awaited a settled promise."""
        promise = self.promises.get(promise_id)

        if promise is None or not promise.awaiters:
            return

        self._changed.promise(promise_id)

        for awaiter in promise.awaiters:
            awaited = self._awaiting.get(awaiter)

            if awaited is not None:
                awaited.discard(promise_id)

            task = self.tasks.get(awaiter)

            if task is not None:
                task.resumes = own(task.resumes)
                self._changed.task(awaiter)

        super().resume_awaiters(promise_id, now)
        promise.awaiters = NO_IDS

    def notify_subscribers(self, promise_id: str) -> None:
        """Notify the listeners of a settled promise, and forget them."""
        promise = self.promises.get(promise_id)

        if promise is not None and promise.subscribers:
            self._changed.promise(promise_id)
            super().notify_subscribers(promise_id)
            promise.subscribers = NO_IDS

    def promise_register_listener(self, corr_id: Any, req: Any) -> dict[str, Any]:
        """Register a listener; see upstream."""
        awaited = req.get("awaited")
        promise = self.promises.get(awaited) if isinstance(awaited, str) else None

        if promise is not None and promise.state == "pending":
            promise.subscribers = own(promise.subscribers)
            self._changed.promise(promise.id)

        return super().promise_register_listener(corr_id, req)

    def task_acquire(self, now: int, corr_id: Any, req: Any) -> dict[str, Any]:
        """Lease a task; see upstream. Not recorded as a change: a lease does not outlive the process."""
        return self._unrecorded(super().task_acquire, now, corr_id, req)

    def task_heartbeat(self, now: int, corr_id: Any, req: Any) -> dict[str, Any]:
        """Prolong leases; see upstream. Not recorded as a change either."""
        return self._unrecorded(super().task_heartbeat, now, corr_id, req)

    def task_fence(self, now: int, corr_id: Any, req: Any) -> dict[str, Any]:
        """Act under a lease; see upstream, and `preload` for what the reply leaves out."""
        self._fenced = True

        try:
            return super().task_fence(now, corr_id, req)
        finally:
            self._fenced = False

    def task_suspend(self, now: int, corr_id: Any, req: Any) -> dict[str, Any]:
        """Suspend a task on what it awaits; see upstream."""
        actions = req.get("actions")
        data = [extract_action_data(action) for action in actions] if isinstance(actions, list) else []
        ids = [part.get("awaited") for part in data if isinstance(part, dict)]
        awaited = [promise for id_ in ids if isinstance(id_, str) and (promise := self.promises.get(id_)) is not None]

        for promise in awaited:
            if promise.state == "pending":
                promise.awaiters = own(promise.awaiters)

        response = super().task_suspend(now, corr_id, req)

        if response["status"] in {_FOUND, _REDIRECT}:
            task_id = req["id"]
            self._changed.task(task_id)

            for promise in awaited:
                if task_id in promise.awaiters:
                    self._awaiting.setdefault(task_id, set()).add(promise.id)
                    self._changed.promise(promise.id)

        return response

    def schedule_create(self, now: int, corr_id: Any, req: Any) -> dict[str, Any]:
        """Create a schedule; see upstream."""
        response = super().schedule_create(now, corr_id, req)

        if response["status"] == CREATED:
            self._changed.schedule(req["id"])
            self._lineages.of(origin_of(req["id"])).schedules += 1
            self._lineages.reopen(origin_of(req["id"]))

        return response

    def schedule_delete(self, corr_id: Any, req: Any) -> dict[str, Any]:
        """Delete a schedule; see upstream."""
        response = super().schedule_delete(corr_id, req)

        if response["status"] == _FOUND:
            self._changed.schedule(req["id"])
            origin = origin_of(req["id"])
            self._lineages.of(origin).schedules -= 1
            self._lineages.close(origin, self.promises.get(origin), self._now)

        return response

    # Bookkeeping

    def _promise_added(self, promise: DurablePromise) -> DurablePromise:
        origin = origin_of(promise.id)
        compact = self._compactor.promise(promise)
        self._lineages.of(origin).promises.append(promise.id)
        self._changed.created(promise.id)
        branch = compact.tags.get("resonate:branch")

        if branch is not None:
            self._branches.setdefault(branch, []).append(promise.id)

        self.catalogue.added(compact)

        if promise.state != "pending":
            root = compact if promise.id == origin else self.promises.get(origin)
            self._lineages.close(origin, root, self._now)

        return compact

    def _task_added(self, task: Task) -> Task:
        self._changed.task(task.id)
        return compact_task(task)

    def _unrecorded(
        self, step: Callable[[int, Any, Any], dict[str, Any]], now: int, corr_id: object, req: object
    ) -> dict[str, Any]:
        before = dict(self._changed.tasks)
        response = step(now, corr_id, req)
        self._changed.tasks = before
        return response
