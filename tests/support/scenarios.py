"""Random steps for the engine's state machine that reach deep states, and the comparison of two machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from random import Random
from typing import Any

import msgspec
from hypothesis import strategies as st
from resonate.connections.local import DurablePromise, ServerState, Task
from resonate.error import ServerError

from orchestrator.engine.embedded.memory.deadlines import Deadlines
from orchestrator.engine.embedded.memory.state import IndexedState

IDS = ("a", "b", "a:1", "a:2", "a:1.1", "b:1", "c:1")
FOREVER = (1 << 63) - 1
PLAIN: Mapping[str, str] = {}
TAGS = {
    "resonate:target": ("local://any@default",),
    "resonate:timer": ("true",),
    "resonate:branch": ("a", "a:1", "b"),
    "resonate:delay": ("30", "70000", "soon"),
    "countersign:transient": ("true",),
}
LIKELY = {"resonate:target": 0.8, "resonate:timer": 0.1, "resonate:branch": 0.7}
VALUES = (None, {"headers": {}, "data": "aGk="}, {"data": ""})
STATES = ("resolved", "rejected", "rejected_canceled")
TARGET = {"resonate:target": "local://any@default"}
EXTERNAL = {"resonate:external": "true"}


class Scenario:
    """Draws steps that are valid often enough to reach deep states: mostly about existing records in their state."""

    def __init__(self, random: Random, *, external: float = 0.0) -> None:
        self.random = random
        #: How likely a promise is one that somebody outside settles.
        self.external = external

    def next(self, state: ServerState) -> tuple[int, dict[str, Any] | None]:
        """Return how much later the next step happens, and its request; None for a tick."""
        later = self.random.choice((0, 0, 0, 0, 0, 1, 1, 5, 60, 40_000 if self.random.random() < 0.3 else 0))

        if self.random.random() < 0.15:
            return later, None

        return later, {"corrId": "c", **self.random.choice(self.KINDS)(self, state)}

    def some(self, ids: Iterable[str]) -> str:
        """Return one of these ids in nine cases of ten, otherwise any id."""
        known = list(ids)
        return self.random.choice(known if known and self.random.random() < 0.9 else IDS)

    def task(self, state: ServerState, *states: str) -> str:
        return self.some(id_ for id_, task in state.tasks.items() if task.state in states)

    def leased(self, state: ServerState) -> dict[str, Any]:
        id_ = self.task(state, "acquired")
        task = state.tasks.get(id_)
        return {"id": id_, "version": task.version if task is not None and self.random.random() < 0.9 else 9}

    def creation(self) -> dict[str, Any]:
        tags = {key: self.random.choice(TAGS[key]) for key in TAGS if self.random.random() < LIKELY.get(key, 0.2)}

        if self.random.random() < self.external:
            tags |= EXTERNAL

        return {
            "id": self.random.choice(IDS),
            "timeoutAt": self.random.choice((0, 90, 300, 70_000, *[FOREVER] * 8)),
            "param": self.random.choice(VALUES),
            "tags": tags,
        }

    def settlement(self, state: ServerState) -> dict[str, Any]:
        open_ = (id_ for id_, promise in state.promises.items() if promise.state == "pending")
        return {"id": self.some(open_), "state": self.random.choice(STATES), "value": self.random.choice(VALUES)}

    def create(self, state: ServerState) -> dict[str, Any]:
        return {"kind": "promise.create", **self.creation()}

    def settle(self, state: ServerState) -> dict[str, Any]:
        return {"kind": "promise.settle", **self.settlement(state)}

    def get(self, state: ServerState) -> dict[str, Any]:
        return {"kind": "promise.get", "id": self.some(state.promises)}

    def listen(self, state: ServerState) -> dict[str, Any]:
        address = self.random.choice(("one", "two"))
        return {"kind": "promise.register_listener", "awaited": self.some(state.promises), "address": address}

    def create_task(self, state: ServerState) -> dict[str, Any]:
        data = self.creation()
        return {"kind": "task.create", "pid": "p", "ttl": 50, "action": {"kind": "promise.create", "data": data}}

    def acquire(self, state: ServerState) -> dict[str, Any]:
        ttl = self.random.choice((0, 50, 60_000))
        return {"kind": "task.acquire", "id": self.task(state, "pending"), "pid": "p", "ttl": ttl}

    def release(self, state: ServerState) -> dict[str, Any]:
        return {"kind": "task.release", **self.leased(state)}

    def fulfil(self, state: ServerState) -> dict[str, Any]:
        lease = self.leased(state)
        data = self.settlement(state) | ({"id": lease["id"]} if self.random.random() < 0.7 else {})
        return {"kind": "task.fulfill", **lease, "action": {"kind": "promise.settle", "data": data}}

    def fence(self, state: ServerState) -> dict[str, Any]:
        kind, data = self.random.choice(
            (
                ("promise.create", self.creation()),
                ("promise.settle", self.settlement(state)),
                ("promise.forget", self.creation()),
            )
        )
        return {"kind": "task.fence", **self.leased(state), "action": {"kind": kind, "data": data}}

    def suspend(self, state: ServerState) -> dict[str, Any]:
        awaited = [self.some(state.promises) for _ in range(self.random.randrange(4))]
        actions = [{"kind": "promise.register_callback", "head": {}, "data": {"awaited": id_}} for id_ in awaited]
        return {"kind": "task.suspend", **self.leased(state), "actions": actions}

    def beat(self, state: ServerState) -> dict[str, Any]:
        return {"kind": "task.heartbeat", "pid": "p", "tasks": [self.leased(state)]}

    def schedule(self, state: ServerState) -> dict[str, Any]:
        tags = {"resonate:target": "x"} if self.random.random() < 0.8 else {}
        kind = self.random.choice(("create", "get", "delete", "search"))
        fields = {"id": self.random.choice(IDS), "cron": "* * * * *", "promiseId": "x", "promiseTags": tags}
        return {"kind": f"schedule.{kind}", **fields}

    def nonsense(self, state: ServerState) -> dict[str, Any]:
        return {"kind": self.random.choice(("promise.create", "task.suspend", "promise.search")), "id": ""}

    KINDS = (
        *(create, create, create, settle, settle, get, listen, create_task, acquire, acquire, acquire, acquire),
        *(release, fulfil, fence, fence, fence, suspend, suspend, suspend, beat, schedule, nonsense),
    )


# Uses Python's own generator: drawing each choice from hypothesis takes a hundred times as long.
scenarios = st.integers(0, 2**64).map(lambda seed: Scenario(Random(seed)))  # noqa: S311 - no secret
external_scenarios = st.integers(0, 2**64).map(lambda seed: Scenario(Random(seed), external=0.5))  # noqa: S311
lengths = st.integers(1, 250)


class Ending(ServerState):
    """The SDK's own machine with the one rule that differs: external promises end at their deadline, task or not."""

    def promise_create(self, now: int, corr_id: Any, req: Any) -> dict[str, Any]:
        response = super().promise_create(now, corr_id, req)

        if response["status"] == 201 and response["promise"]["tags"].get("resonate:external") == "true":
            self.set_p_timeout(req["id"], req["timeoutAt"])

        return response


def plain(value: Any) -> Any:
    """Return a JSON value as its receiver sees it."""
    return msgspec.json.decode(msgspec.json.encode(value))


def step(state: ServerState, now: int, request: dict[str, Any] | None) -> Any:
    state.outgoing.clear()

    try:
        return state.tick(now) if request is None else plain(state.apply(now, request))
    except ServerError as error:
        return error.code, error.message


def said(state: ServerState) -> Counter[bytes]:
    messages = [plain((message.address, message.message)) for message in state.outgoing]
    return Counter(msgspec.json.encode(message, order="sorted") for message in messages)


def promises(state: ServerState) -> dict[str, Any]:
    return {id_: plain(msgspec.structs.asdict(promise)) | sets(promise) for id_, promise in state.promises.items()}


def sets(promise: DurablePromise) -> dict[str, Any]:
    return {"awaiters": sorted(promise.awaiters), "subscribers": sorted(promise.subscribers)}


def tasks(state: ServerState) -> dict[str, Any]:
    return {id_: described(task) for id_, task in state.tasks.items()}


def described(task: Task) -> dict[str, Any]:
    return msgspec.structs.asdict(task) | {"resumes": sorted(task.resumes)}


def created(state: IndexedState, id_: str, tags: Mapping[str, str] = PLAIN) -> None:
    state.apply(10, {"kind": "promise.create", "id": id_, "timeoutAt": FOREVER, "tags": tags})


def settled(state: IndexedState, id_: str, now: int = 20) -> None:
    state.apply(now, {"kind": "promise.settle", "id": id_, "state": "resolved", "value": None})


def entries(deadlines: Deadlines) -> list[tuple[str, int, int]]:
    """Return (id, kind, when) of every deadline, in order of insertion."""
    return [(id_, kind, at) for at, order, id_, kind in sorted(deadlines._entries.values(), key=lambda it: it[1])]
