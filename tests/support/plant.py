"""A worker in this process, on any engine, with a Databricks workspace: what tests of whole workflows use."""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING, Any

import anyio
from support.configuration import settings

from orchestrator.callbacks.outcomes import Outcome
from orchestrator.callbacks.settlement import resolve
from orchestrator.databricks.jobs import Databricks
from orchestrator.databricks.sdk import connect as connect_workspace
from orchestrator.engine import connect
from orchestrator.errors import UnknownPromise
from orchestrator.runs.call_graph import walk
from orchestrator.runs.loading import load_workflows
from orchestrator.runs.roots import start_root, view_root
from orchestrator.testing.emulator.jobs_api import Emulator
from orchestrator.worker import dependencies_opened, prepare_worker
from orchestrator.workflows.shop.order_book import OrderBook

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping
    from pathlib import Path

    from resonate.types import PromiseRecord

    from orchestrator.callbacks.settlement import Settlement
    from orchestrator.config.settings import Settings
    from orchestrator.engine import Engine
    from orchestrator.runs.definition import Workflow
    from orchestrator.runs.roots import RootView
    from orchestrator.testing.emulator.workspace import Job

PATIENCE = 30.0

#: Settings by engine, so that a second worker on the same engine has the same keys.
KNOWN: dict[str, Settings] = {}


class Plant:
    """A worker and its engine. Workflow ids are given without the workflow's name."""

    def __init__(self, engine: Engine, chosen: Settings, workflow: Workflow[Any], emulator: Emulator) -> None:
        self.engine = engine
        self.settings = chosen
        self.workflow = workflow
        self.emulator = emulator

    def root(self, workflow_id: str) -> str:
        return f"{self.workflow.name}.{workflow_id}"

    async def start(self, workflow_id: str, **request: object) -> RootView:
        return await start_root(
            self.engine,
            name=self.workflow.name,
            workflow_id=workflow_id,
            text=json.dumps(request),
            group=self.workflow.group,
            timeout=self.workflow.timeout,
            version=self.workflow.version,
        )

    async def end(self, workflow_id: str) -> RootView:
        """Return the workflow once it is over."""
        return view_root(await self.engine.wait_settled(self.root(workflow_id), seconds=PATIENCE))

    async def ended(self, workflow_id: str) -> tuple[str, Any]:
        """Return the workflow's state and its result or error, once it is over."""
        view = await self.end(workflow_id)
        assert view.state != "running", f"{workflow_id} is still running"
        return view.state, json.loads(view.result if view.result is not None else view.error or "null")

    async def answer(self, promise_id: str, body: str = "null", *, kind: str = "succeeded", name: str) -> Settlement:
        """Settle a wait as its callback would."""
        outcome = Outcome(kind=kind, callback=name, by="callback", body=body)
        return await resolve(self.engine.promises, promise_id, ikey="a test", outcome=outcome)

    async def opened(self, promise_id: str) -> PromiseRecord:
        """Return the promise's record once it exists."""
        for _ in range(int(PATIENCE * 50)):
            with contextlib.suppress(UnknownPromise):
                return await self.engine.promises.get(promise_id)

            await pause(0.02)

        raise UnknownPromise(promise_id)

    async def triggered(self, count: int) -> list[Any]:
        """Return the runs of the Databricks workspace once there are `count` of them."""
        for _ in range(int(PATIENCE * 50)):
            if len(runs := self.emulator.workspace.runs()) >= count:
                return runs

            await pause(0.02)

        raise TimeoutError("the job was not triggered")

    @staticmethod
    def now() -> float:
        return time.time()

    async def steps(self, workflow_id: str) -> list[PromiseRecord]:
        return [record async for record in walk(self.engine.promises, self.root(workflow_id))]


async def pause(seconds: float) -> None:
    """Give other processes time."""
    await anyio.sleep(seconds)


@contextlib.asynccontextmanager
async def plant(
    directory: Path,
    engine_url: str,
    workflow: Workflow[Any] | None = None,
    *,
    jobs: Mapping[int, Job] | None = None,
    working: bool = True,
    looking: bool = False,
    also: Iterable[Workflow[Any]] = (),
) -> AsyncIterator[Plant]:
    """Run a worker on this engine, for one workflow and `also` others, or all that ship, and only for its own group.

    With `working=False` it takes no tasks. Without `looking` it knows beforehand how its engine ends waits.
    """
    chosen = KNOWN.setdefault(engine_url, settings(directory, engine_url))
    shipped = load_workflows(["orchestrator.workflows"])
    with Emulator(jobs=jobs or {}) as emulator:
        databricks = Databricks(lambda: connect_workspace(host=emulator.url, token=emulator.token))
        known = [workflow, *also] if workflow else shipped.values()
        async with worker(directory, chosen, known, databricks=databricks, working=working, looking=looking) as engine:
            yield Plant(engine, chosen, workflow or shipped["databricks_pipeline"], emulator)


@contextlib.asynccontextmanager
async def worker(
    directory: Path,
    chosen: Settings,
    workflows: Iterable[Workflow[Any]],
    *,
    group: str = "default",
    databricks: Databricks | None = None,
    working: bool = True,
    looking: bool = False,
) -> AsyncIterator[Engine]:
    """Run a worker of this group; on an embedded engine it is the only one, and works for all groups."""
    engine = await connect(chosen, group=group, work=True)
    engine._ends_plain_promises |= not looking
    own = None if engine.embedded else group
    book = OrderBook(directory / "orders.db")
    known = tuple(workflows)
    prepare_worker(engine, chosen, known, group=own, databricks=databricks)

    async with dependencies_opened(engine, known, group=own, given=[book]):
        if working:
            engine.start()

        try:
            yield engine
        finally:
            await engine.stop()
