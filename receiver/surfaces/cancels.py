"""Cancelling a workflow, over the API and in the console: recorded with who and why, logged, and seen through."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from orchestrator.runs.cancel_note import note_cancel
from orchestrator.runs.cancellation import request_cancel, see_through
from orchestrator.runs.roots import view_root
from receiver.http.telemetry import log_action, log_if_unknown

if TYPE_CHECKING:
    from starlette.types import Scope

    from orchestrator.runs.roots import RootView
    from receiver.surfaces.edge import Edge

#: Where starts of workflows are logged too.
logger = logging.getLogger("receiver.surfaces.workflows")


class Cancels:
    """Cancels workflows, and pursues the cancels that nobody else may pursue."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._pursued: dict[str, asyncio.Task[None]] = {}

    async def cancel(self, scope: Scope, root_id: str, *, by: str, reason: str = "") -> RootView:
        """Request the workflow's cancellation and return how it stands then; one that is over stays as it is.

        Repeating this is safe: the first request's name and reason are kept.

        Raises:
            UnknownPromise: there is no such workflow.
            EngineUnavailable: whether it will be cancelled is unknown.
        """
        engine = self._edge.engine

        with log_if_unknown(logger, scope, root_id, "cancelled", by=by):
            root = await engine.promises.get(root_id)

            if root.state == "pending":
                await note_cancel(engine.promises, root, by=by, reason=reason, clock=engine.clock)

            cancelled = await request_cancel(engine, root_id)

        if cancelled:
            log_action(logger, scope, root_id, "cancelled", by=by)
            self._see_through(root_id)

        return view_root(await engine.promises.get(root_id))

    def _see_through(self, root_id: str) -> None:
        """Pursue a cancel from here. A group without a worker has nobody else to do it."""
        if self._edge.engine.embedded or root_id in self._pursued:
            return

        task = asyncio.create_task(see_through(self._edge.engine, root_id, sleep=asyncio.sleep))
        self._pursued[root_id] = task
        task.add_done_callback(lambda _: self._pursued.pop(root_id))
