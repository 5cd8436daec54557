"""Testing a workflow: the real engine, steps, tokens and mail, in memory and under a clock that is moved by hand."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel

from orchestrator.runs.root_ids import is_workflow_id, root_id_of
from orchestrator.runs.roots import start_root
from orchestrator.testing.trial.hand_clock import HandClock
from orchestrator.testing.trial.runs import Run
from orchestrator.testing.trial.surroundings import Surroundings
from orchestrator.testing.trial.world import World
from orchestrator.text.json_writing import dumps_strict
from orchestrator.text.strict_json import json_equal, loads_strict
from orchestrator.text.times import utc

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime, timedelta
    from types import TracebackType

    from orchestrator.engine import Engine
    from orchestrator.runs.definition import Workflow
    from orchestrator.runs.roots import RootView
    from orchestrator.testing.trial.jobs import TrialJobs
    from orchestrator.testing.trial.mail import Mail


class Trial:
    """A process that runs these workflows, for as long as the `async with` lasts.

        async with Trial(refund) as trial:
            run = await trial.start(refund, {"order": "4711", "cents": 1999})
            bank = await run.waiting("bank")
            await bank.succeed("T-1")
            assert (await run.result())["reference"] == "T-1"

    It is the embedded engine, in memory: it opens no file and no socket, and time passes only in `advance`. Everything
    else is what runs in production: steps and their retries, tokens, mails, the Databricks port, recovery. Each method
    returns when everything waits for the clock or for the test. A step that waits for something outside, such as a
    thread, is waited for in real time.

    `dependencies` stand in for what `@dependency` gives: objects, each for its type and the types it derives from; a
    mapping from types to objects; or factories. Dependencies that nothing stands in for are opened as in a worker.

    With `crash_everywhere` the process dies once before and once after every recorded change, and is recovered. The
    result must be the same; a step may be done again. Use it in a test of its own: each effect must be idempotent.

    The other workflows that the modules of these workflows name can be started, too. Of one workflow the trial has the
    versions that are given.
    """

    def __init__(
        self,
        *workflows: Workflow[Any],
        dependencies: Iterable[object] | Mapping[Any, object] = (),
        crash_everywhere: bool = False,
        name: str = "Countersign",
    ) -> None:
        clock = HandClock(int(time.time()) * 1000)
        self._surroundings = Surroundings(workflows, dependencies, name=name, clock=clock.seconds)
        self._world = World(self._surroundings, clock, crash_everywhere=crash_everywhere)
        self._started = 0

    async def __aenter__(self) -> Self:
        """Start the process.

        Raises:
            DependencyUnusable: a dependency cannot be opened.
        """
        await self._world.open()

        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process, whatever it is doing."""
        await self._world.close()

    @property
    def now(self) -> datetime:
        """The time of the trial."""
        return utc(self._world.clock())

    @property
    def mail(self) -> list[Mail]:
        """The mails sent so far, oldest first."""
        return self._surroundings.postbox.mails

    @property
    def jobs(self) -> TrialJobs:
        """The Databricks workspace: the runs that were triggered, to be ended by the test."""
        return self._surroundings.jobs

    async def start[Request: BaseModel](
        self,
        workflow: Workflow[Request] | str,
        request: Request | Mapping[str, Any],
        id: str | None = None,  # noqa: A002 - the API's name
    ) -> Run:
        """Start a workflow, by its definition or its name, and return the run once it waits or has ended.

        Without an id it gets one. The same id with the same input is the same run, as in the workflow API. Of several
        versions a name starts the highest, and a definition starts itself.

        Raises:
            LookupError: the trial has no workflow of that name.
            ValidationError: the input does not fit the workflow, or has fields that it does not know.
            ValueError: the id is invalid, or was used with another input.
        """
        chosen = self._named(workflow)
        text = _input_of(chosen, request)
        self._started += 1
        workflow_id = f"trial-{self._started}" if id is None else id

        if not is_workflow_id(workflow_id):
            raise ValueError(f"a workflow's id is 1 to 128 of A-Z a-z 0-9 . _ : + @ -, not {workflow_id!r}")

        async def act(engine: Engine) -> RootView:
            return await start_root(
                engine,
                name=chosen.name,
                workflow_id=workflow_id,
                text=text,
                group=chosen.group,
                timeout=chosen.timeout,
                version=chosen.version,
            )

        view = await self._world.do(act)

        if not json_equal(loads_strict((view.request or "null").encode()), loads_strict(text.encode())):
            raise ValueError(f"{chosen.name} was started under the id {workflow_id!r} with another input")

        await self._world.settle()

        return Run(self._world, root_id_of(chosen.name, workflow_id), workflow_id)

    def run(self, workflow: Workflow[Any] | str, id: str) -> Run:  # noqa: A002 - the API's name
        """Return the run of a workflow that was started under this id, by whomever.

        Raises:
            LookupError: the trial has no workflow of that name.
        """
        return Run(self._world, root_id_of(self._named(workflow).name, id), id)

    async def advance(self, by: timedelta) -> None:
        """Move the clock. Whatever becomes due on the way happens at its own moment, in order.

        Raises:
            ValueError: the clock would go back.
        """
        await self._world.advance(by)

    async def crash(self) -> None:
        """Let the process die and start it again. Everything in memory is lost, and what is recorded is not."""
        await self._world.crash()

    async def deploy(self, *workflows: Workflow[Any]) -> None:
        """Let the process die and start it again with these workflows in place of those it had, as a deploy does.

        Runs that are open go on under the new code: see the versions of `@workflow`. A run whose record does not fit it
        keeps the state `running`, and `result` says what differs.
        """
        self._surroundings.deploy(workflows)
        await self.crash()

    def _named(self, workflow: Workflow[Any] | str) -> Workflow[Any]:
        name = workflow if isinstance(workflow, str) else workflow.name
        known = self._surroundings.workflows
        newest = known.get(name)
        versions = () if newest is None else (newest, *newest.earlier)

        for one in versions:
            if isinstance(workflow, str) or one.body is workflow.body:
                return one

        which = repr(name) if newest is None else f"{name!r} with this definition"

        raise LookupError(f"the trial has no workflow {which}; it has: {', '.join(sorted(known))}")


def _input_of(workflow: Workflow[Any], request: BaseModel | Mapping[str, Any]) -> str:
    """Return the input as the JSON text that a client would send."""
    if isinstance(request, BaseModel):
        text = request.model_dump_json(by_alias=True)
    else:
        text = dumps_strict(dict(request), "request")

    workflow.request.model_validate(loads_strict(text.encode()), extra="forbid")

    return text
