"""The tasks behind promises: whether a worker runs the code of a workflow, and taking it so that none can."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from resonate.error import ResonateError, ServerError
from resonate.types import PromiseSettleReq

from orchestrator.errors import EngineUnavailable
from orchestrator.sdk_internals import acquire_task, read_task

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from resonate.resonate import Resonate

_CONFLICTS: Final = frozenset({404, 409})

#: Milliseconds for which a task is taken. It is ended at once, so this only matters if this process is stopped before.
_LEASE: Final = 10_000


class TaskState(NamedTuple):
    """`pending`: no worker has it. `acquired`: one runs it. `suspended`: it waits. The version counts the takers."""

    state: str
    version: int


class Tasks:
    """Read and take the tasks of an engine. `seconds` bounds every call.

    `held` reads a task of an engine in this process, which has no request for that.
    """

    def __init__(
        self, resonate: Resonate, *, seconds: float, held: Callable[[str], TaskState | None] | None = None
    ) -> None:
        self._resonate = resonate
        self._seconds = seconds
        self._held = held

    async def look(self, task_id: str) -> TaskState | None:
        """Return the state of the task of this promise, None if it has none.

        Raises:
            EngineUnavailable: no usable reply in time.
        """
        if self._held is not None:
            return self._held(task_id)

        found = await self._bounded(read_task(self._resonate, task_id))
        task = found.get("task") if isinstance(found, dict) else None

        return TaskState(str(task["state"]), int(task["version"])) if isinstance(task, dict) else None

    async def take(self, task_id: str, version: int) -> int | None:
        """Take a pending task of this version for some seconds, so that no worker can run it.

        Return what `end` must be passed, None if the task is of another version by now or is not pending.

        Raises:
            EngineUnavailable: whether it is taken is unknown; if so, it is given back after some seconds.
        """
        pid = f"countersign-{uuid.uuid4().hex}"
        taken = await self._bounded(acquire_task(self._resonate, task_id, version, pid=pid, lease=_LEASE))

        return None if taken is None else int(taken.task.version)

    async def end(self, task_id: str, version: int, value: object) -> bool:
        """Resolve the promise of a task that was taken. Return False if a worker may have the task by now.

        Raises:
            EngineUnavailable: whether it is resolved is unknown; if it is not, the task is given back.
        """
        if self._held is not None and self._held(task_id) != TaskState("acquired", version):
            return False  # an engine in this process does not compare the version itself

        promises = self._resonate.promises
        action = PromiseSettleReq(id=task_id, state="resolved", value=promises.codec.encode(value))

        return await self._bounded(promises.sender.task_fulfill(task_id, version, action)) is not None

    async def _bounded(self, request: Awaitable[Any]) -> Any:
        try:
            async with asyncio.timeout(self._seconds):
                return await request

        except ServerError as error:
            if error.code in _CONFLICTS:
                return None

            raise EngineUnavailable(f"the engine refused the request with status {error.code}") from error
        except TimeoutError as error:
            raise EngineUnavailable(f"the engine did not answer within {self._seconds:g} s") from error
        except (ResonateError, ValueError, TypeError, KeyError) as error:
            raise EngineUnavailable(f"the request to the engine failed ({type(error).__name__})") from error
