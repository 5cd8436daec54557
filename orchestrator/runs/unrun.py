"""Ending a cancelled workflow whose code nobody runs: its group has no worker, or no worker has its code any more.

Such a workflow would never be over, and neither would a parent that waits for it. It is ended only while no worker runs
it: its task is taken first, so no worker can begin to. What it had done is not undone then, and its error says so.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Final, TypedDict

from orchestrator.errors import CANCELLED, WorkflowCancelled
from orchestrator.runs.roots import Ending

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resonate.types import PromiseRecord

    from orchestrator.engine import Engine
    from orchestrator.engine.tasks import TaskState

logger = logging.getLogger(__name__)

#: Seconds without a worker after which a cancelled workflow is ended that has not begun, and one that has.
UNBEGUN_GRACE: Final = 5.0
GRACE: Final = 60.0

#: How often a task is tried to be taken at one look, and the seconds between two of these at most.
_TAKES: Final = 25
_BETWEEN_TAKES: Final = 0.1


class Idle(TypedDict):
    """What was seen of a workflow that nobody runs: its steps, and since when (milliseconds) they are the same.

    `version` counts how often its task was taken.
    """

    steps: str
    since: int
    version: int | None


async def end_if_unrun(
    engine: Engine, root: PromiseRecord, *, steps: str, before: Mapping[str, object] | None
) -> Idle | None:
    """End a cancelled workflow if nobody has run it for its grace. Return None then, else what to pass `before`.

    `steps` describes the steps it has, and is empty if it has none.

    Raises:
        EngineUnavailable: repeating the call is safe.
    """
    now = int(engine.clock() * 1000)
    task = await engine.tasks.look(root.id)
    version = None if task is None else task.version

    if task is None or before is None or before["steps"] != steps or _is_run(task, before.get("version")):
        return Idle(steps=steps, since=now, version=version)

    since = int(str(before["since"]))
    grace = GRACE if steps else UNBEGUN_GRACE

    if now - since < grace * 1000 or (taken := await _take(engine, root.id, task)) is None:
        return Idle(steps=steps, since=since, version=version)

    undone = "so what it had done is not undone" if steps else "before it had begun"
    message = f"{CANCELLED}: no worker ran its code for {grace:g} s, {undone}"

    if not await engine.tasks.end(root.id, taken, Ending.raised(WorkflowCancelled(message)).stored()):
        return Idle(steps=steps, since=since, version=version)

    logger.error("%s: %s", root.id, message)

    return None


async def _take(engine: Engine, task_id: str, task: TaskState | None) -> int | None:
    """Take the task, and return what ends it, None if it could not be taken.

    A worker without the workflow's code gives it back at once, and some engines hand it out again at once. So it is
    tried at several moments.
    """
    for _ in range(_TAKES):
        if task is None or task.state not in {"pending", "acquired"}:
            break

        if (taken := await engine.tasks.take(task_id, task.version)) is not None:
            return taken

        await asyncio.sleep(random.uniform(0, _BETWEEN_TAKES))  # noqa: S311
        task = await engine.tasks.look(task_id)

    return None


def _is_run(task: TaskState, version_before: object) -> bool:
    """Return whether the workflow waits, or a worker has had its task since `version_before` was seen.

    A worker without the workflow's code takes the task too, and gives it back at once.
    """
    held = task.state == "acquired" and version_before in {None, task.version}

    return held or task.state not in {"pending", "acquired"}
