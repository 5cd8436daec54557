"""What is added to the requests that create and settle steps and waits, and what is checked in the replies.

The SDK creates and settles them through an object of its own for each function call; ours stands in front of that.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import re
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, Self

import msgspec
from resonate.types import PromiseCreateReq, Value

from orchestrator.durable.opened_at import opened_at
from orchestrator.durable.parts import is_of_part, marker_of
from orchestrator.durable.recorded import difference
from orchestrator.durable.storable import storable
from orchestrator.durable.wait_end import until_deadline, without_error
from orchestrator.errors import CANCELLED, CodeChanged, WorkflowCancelled
from orchestrator.failures import error_of, failed_as_cancelled, failed_as_tampered, is_cancelled, is_tampered
from orchestrator.sdk_internals import note_at_ends
from orchestrator.stored_names import ENDED_HEADER, PLACE_TAG, STEP_TAG

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from resonate.effects import Effects
    from resonate.types import Info, PromiseRecord

    from orchestrator.durable.interrupts import Interrupts
    from orchestrator.engine import Engine

asked_step: ContextVar[AskedStep | None] = ContextVar("countersign_step", default=None)
asked_wait: ContextVar[AskedWait | None] = ContextVar("countersign_wait", default=None)
shielding: ContextVar[bool] = ContextVar("countersign_shielded", default=False)


class AskedStep(msgspec.Struct, frozen=True, kw_only=True):
    """What the SDK's request for a step lacks."""

    name: str
    tags: Mapping[str, str] = msgspec.field(default_factory=dict)
    any_record: bool = False


class AskedWait(msgspec.Struct, frozen=True, kw_only=True):
    """What the SDK's request for a promise lacks to be that of a wait of this engine.

    `latest` is when the workflow itself is over, in milliseconds since the epoch.
    """

    engine: Engine
    tags: Mapping[str, str]
    holding: Callable[[str], object] | None
    latest: int

    async def asked_by(self, req: PromiseCreateReq) -> PromiseCreateReq:
        """Return the request for the wait. The time that passes here is not taken from its deadline."""
        began = time.monotonic()
        is_plain = await self.engine.ends_plain_promises()
        timeout_at = min(req.timeout_at + int((time.monotonic() - began) * 1000), self.latest)
        tags = {**req.tags, **self.tags}

        if not is_plain:
            tags |= {"resonate:target": self.engine.own_address, "resonate:timer": "true"}
            tags |= until_deadline(timeout_at)

        param = req.param if self.holding is None else Value(data=self.holding(req.id))

        return msgspec.structs.replace(req, timeout_at=timeout_at, tags=tags, param=param)


class Ended(msgspec.Struct, frozen=True):
    """When a step or a wait ended, in milliseconds, and its number among those that ended in the same one.

    `recorded` is whether it was over by the record when it was asked for.
    """

    at: float = math.inf
    number: int = 0
    recorded: bool = False

    @classmethod
    def of(cls, record: PromiseRecord, *, recorded: bool) -> Self:
        """Return when the step or wait of this record, which is over, ended."""
        number = (record.value.headers or {}).get(ENDED_HEADER, "")

        return cls(record.settled_at or 0, int(number) if _NUMBER.fullmatch(number) else 0, recorded)


#: The numbers of what ends in this process.
_numbers: Final = itertools.count(1)

_NUMBER: Final = re.compile("[0-9]{1,18}", re.ASCII)


def _numbered() -> dict[str, str]:
    return {ENDED_HEADER: str(next(_numbers))}


class WatchfulEffects:
    """Adds to the promise of a step or a wait what the SDK does not, and checks what comes back."""

    def __init__(self, effects: Effects, interrupts: Interrupts) -> None:
        self._effects = effects
        #: When each wait was opened, by its id.
        self.opened: Final[dict[str, int | None]] = {}
        #: The promises that do not hold what was written there. A workflow that catches the error cannot hide them.
        self.tampered: Final[dict[str, None]] = {}
        #: How the record differs from what the code asked for.
        self.changed: Final[list[str]] = []
        #: The steps whose results are known to be storable.
        self.checked: Final[set[str]] = set()
        #: Whether a cancel ended a step, a sleep or a call.
        self.cancel_seen = False
        self.interrupts: Final = interrupts
        #: Whether what parts of the code begin at once is numbered by part, and whether the record says so already.
        self.by_part = self._is_marked = False
        #: What is over, and since when.
        self.ended: Final[dict[str, Ended]] = {}
        self._has_parts = False
        #: The places of parts that are not recorded yet, by id.
        self._kept: Final[dict[str, PromiseCreateReq]] = {}
        self._keeping: Final = asyncio.Lock()

    def have_parts(self) -> None:
        """Note the order in which steps end from now on, because parts of the code run at once."""
        if not self._has_parts:
            self._has_parts = True
            note_at_ends(self._effects, _numbered)

    def keep(self, places: Sequence[str], call: Info) -> None:
        """Record these places of parts of a function call before anything else is recorded."""
        for place in places:
            tags = {
                "resonate:scope": "local",
                "resonate:branch": call.branch_id,
                "resonate:parent": call.id,
                "resonate:origin": call.origin_id,
                PLACE_TAG: "kept",
            }
            self._kept[place] = PromiseCreateReq(id=place, timeout_at=call.timeout_at, param=Value(), tags=tags)

    async def create_promise(self, req: PromiseCreateReq) -> PromiseRecord:
        """Create a promise unless it exists, and return its record; one that says so if it is not what was written.

        Raises:
            CodeChanged: the record in this place is that of another step or wait.
        """
        step, wait = asked_step.get(), asked_wait.get()

        if self.by_part and is_of_part(req.id):
            await self._mark(req)

        if self._kept:
            await self._keep_all()

        req = _as_step(req, step) if wait is None else await wait.asked_by(req)
        record = await self.interrupts.record(self._effects.create_promise(req))

        if self.by_part and record.state != "pending":
            self.ended[record.id] = Ended.of(record, recorded=True)

        if wait is not None:
            self.opened[record.id] = opened_at(record)
            record = without_error(record)
        elif _ends_by_itself(record) and "resonate:timer" not in req.tags:
            # An engine ends only timers like this. The requested promise is not one, so nobody has run its step.
            record = failed_as_tampered(record)

        if is_tampered(record):
            self.tampered[record.id] = None
        elif not (step is not None and step.any_record) and (changed := difference(req, record)) is not None:
            self.changed.append(changed)
            raise CodeChanged(changed)

        if wait is None and is_cancelled(record):
            record = failed_as_cancelled(record)
            self._cancelled(error_of(record.value.data))

        return record

    def answered(self, record: PromiseRecord) -> PromiseRecord:
        """Return the record of a wait that is over by now, as `create_promise` returns it in a replay."""
        self.ended[record.id] = Ended.of(record, recorded=True)
        record = without_error(record)

        if is_tampered(record):
            self.tampered[record.id] = None

        return record

    async def _keep_all(self) -> None:
        async with self._keeping:
            places = list(self._kept.values())
            records = await asyncio.gather(*(self._keep(place) for place in places))

            for place, record in zip(places, records, strict=True):
                if (changed := difference(place, record)) is not None:
                    self.changed.append(changed)
                    raise CodeChanged(changed)

                del self._kept[place.id]

    async def _keep(self, place: PromiseCreateReq) -> PromiseRecord:
        if is_of_part(place.id):
            await self._mark(place)

        return await self.interrupts.record(self._effects.create_promise(place))

    async def _mark(self, req: PromiseCreateReq) -> None:
        """Record that parts of this workflow begin something, so that a walk of its steps looks for that."""
        if self._is_marked:
            return

        root_id = req.tags["resonate:origin"]
        tags = {f"resonate:{name}": root_id for name in ("branch", "parent", "origin")} | {"resonate:scope": "local"}
        marker = PromiseCreateReq(id=marker_of(root_id), timeout_at=req.timeout_at, param=Value(), tags=tags)
        await self._effects.create_promise(marker)
        self._is_marked = True

    def _cancelled(self, error: Exception) -> None:
        if isinstance(error, WorkflowCancelled) and not shielding.get():
            self.cancel_seen = True
            self.interrupts.told |= str(error) == CANCELLED

    async def settle_promise[T](self, id: str, result: T | Exception) -> PromiseRecord:  # noqa: A002 - the SDK's name
        """Settle the promise of a step with its result, or with what says that the store cannot hold that."""
        if id in self.checked:
            self.checked.discard(id)
        else:
            step = asked_step.get()
            result = storable(result, f"the result of {'a step' if step is None else step.name}")

        if isinstance(result, WorkflowCancelled):
            self._cancelled(result)

        record = await self.interrupts.record(self._effects.settle_promise(id, result))

        if self._has_parts:
            self.ended[id] = Ended.of(record, recorded=False)

        return record


def _as_step(req: PromiseCreateReq, step: AskedStep | None) -> PromiseCreateReq:
    """Return the request for a step or a sleep."""
    if step is not None and req.tags.get("resonate:scope") == "local":
        return msgspec.structs.replace(req, tags={**req.tags, STEP_TAG: step.name, **step.tags})

    if "resonate:timer" in req.tags:
        return msgspec.structs.replace(req, tags=req.tags | until_deadline(req.timeout_at))

    return req


def _ends_by_itself(record: PromiseRecord) -> bool:
    timer = record.tags.get("resonate:timer") == "true"

    return timer and record.state == "resolved" and record.value.data is None
