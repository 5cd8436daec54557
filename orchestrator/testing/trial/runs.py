"""A run of a workflow in a trial: how it ended, or what it waits for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from orchestrator.callbacks.question import Asked
from orchestrator.callbacks.terms import Terms
from orchestrator.durable.try_records import read_tries
from orchestrator.errors import UnknownPromise, WorkflowCancelled, WorkflowExpired, WorkflowFailed
from orchestrator.failures import error_of
from orchestrator.runs.call_graph import name_of, walk
from orchestrator.runs.cancellation import request_cancel
from orchestrator.runs.changed_code import held_up
from orchestrator.runs.children import child_of
from orchestrator.runs.root_ids import root_id_of
from orchestrator.runs.roots import view_root
from orchestrator.runs.step_view import StepView
from orchestrator.stored_names import CALLBACK_TAG, CHILD_TAG
from orchestrator.testing.trial.waits import Wait
from orchestrator.testing.trial.world import TrialError
from orchestrator.text.times import to_the_second, utc

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from resonate.types import PromiseRecord

    from orchestrator.durable.try_records import TryRecord
    from orchestrator.engine import Engine
    from orchestrator.errors import WorkflowEnded
    from orchestrator.runs.roots import RootView, State
    from orchestrator.testing.trial.world import World

_ENDS: Final[Mapping[State, type[WorkflowEnded]]] = {
    "failed": WorkflowFailed,
    "expired": WorkflowExpired,
    "cancelled": WorkflowCancelled,
}


class Run:
    """One run of a workflow, as `Trial.start` gives it.

    Each method first lets everything happen that needs neither the clock nor the test.
    """

    def __init__(self, world: World, root_id: str, workflow_id: str) -> None:
        self._world = world
        #: Its name in logs and in the store.
        self.root_id = root_id
        #: The id under which it was started.
        self.id = workflow_id

    async def state(self) -> State:
        """Return `running`, `succeeded`, `failed`, `expired` or `cancelled`."""
        return (await self._view()).state

    async def result(self) -> Any:
        """Return what the workflow returned, as JSON.

        Raises:
            WorkflowFailed, WorkflowExpired, WorkflowCancelled: it ended so; `error` is what the workflow API shows.
            TrialError: it has not ended. The message says what it waits for.
        """
        view = await self._view()

        if view.state == "running":
            raise TrialError(f"{self.root_id} has not ended: {await self.describe()}")

        if view.state == "succeeded":
            return json.loads(view.result or "null")

        error = json.loads(view.error or "{}")
        end = _ENDS[view.state](str(error.pop("message", "")), **error)

        for note in await self._failures():
            end.add_note(note)

        raise end

    async def waiting(self, callback: str) -> Wait:
        """Return the open callback or question of this name, of the run or of a workflow that it runs.

        Raises:
            TrialError: the run does not wait for it. The message says what it does instead.
        """
        await self._world.settle()
        found = await self.find_wait(callback)

        if found is not None:
            return found

        view = await self._view()

        if view.state == "running":
            raise TrialError(f"{self.root_id} does not wait for {callback!r}: {await self.describe()}")

        ended = view.result if view.state == "succeeded" else view.error
        raise TrialError(f"{self.root_id} does not wait for {callback!r}: it ended {view.state} with {ended}")

    async def cancel(self) -> None:
        """Cancel the run, as the workflow API does, and let it compensate."""
        await self._world.do(lambda engine: request_cancel(engine, self.root_id))
        await self._world.settle()

    async def steps(self) -> list[StepView]:
        """Return the steps and waits of the run so far, in the order in which it made them."""
        await self._world.settle()

        root = await self._root()

        return [StepView.read(record, child=child_of(root, record)) for record in await self._records(unsettled=False)]

    async def find_wait(self, callback: str) -> Wait | None:
        """Return the open callback or question of this name, None if there is none."""
        unsettled = await self._unsettled()
        open_ones = [record for record in unsettled if CALLBACK_TAG in record.tags]
        named = tuple(record for record in open_ones if record.tags[CALLBACK_TAG] == callback)
        named = named or tuple(record for record in open_ones if _is_part_of(record, callback))

        if named:
            return Wait(self._world, callback, named)

        for record in unsettled:
            child = await self._child(record)
            found = None if child is None else await child.find_wait(callback)

            if found is not None:
                return found

        return None

    async def _child(self, step: PromiseRecord) -> Run | None:
        """Return the run of the workflow that this step runs, None if it runs none."""
        if CHILD_TAG not in step.tags:
            return None

        child = child_of(await self._root(), step)

        return None if child is None else Run(self._world, root_id_of(child.workflow, child.id), child.id)

    async def _view(self) -> RootView:
        await self._world.settle()

        return view_root(await self._root())

    async def _root(self) -> PromiseRecord:
        async def act(engine: Engine) -> PromiseRecord:
            return await engine.promises.get(self.root_id)

        try:
            return await self._world.do(act)
        except UnknownPromise:
            raise TrialError(f"{self.root_id} was not started, or was over so long ago that it is forgotten") from None

    async def _records(self, *, unsettled: bool) -> list[PromiseRecord]:
        async def act(engine: Engine) -> list[PromiseRecord]:
            return [record async for record in walk(engine.promises, self.root_id, unsettled=unsettled)]

        return await self._world.do(act)

    async def _unsettled(self) -> list[PromiseRecord]:
        return [record for record in await self._records(unsettled=True) if record.state == "pending"]

    async def describe(self) -> str:
        """Return what the run waits for, as the middle of a sentence."""
        changed = await self._held_up()

        if changed is not None:
            return f"its code was changed: {changed}"

        unsettled = await self._unsettled()
        parents = {record.tags.get("resonate:parent") for record in unsettled}
        found = [
            await self._open(record) for record in unsettled if record.id not in parents or CHILD_TAG in record.tags
        ]

        if not found:
            return (
                "nothing that it began is open. Does its code wait for something that is not durable, such as "
                "asyncio.sleep or a lock?"
            )

        return "; ".join(found)

    async def _held_up(self) -> str | None:
        steps = await self.steps()

        async def act(engine: Engine) -> TryRecord | None:
            return await held_up(engine, self.root_id, steps)

        held = await self._world.do(act)

        return None if held is None else held.error

    async def _open(self, record: PromiseRecord) -> str:
        child = await self._child(record)

        if child is not None:
            return f"it runs {child.root_id}: {await child.describe()}"

        if record.tags.get("resonate:scope") == "local":
            return f"its step {name_of(record)!r} {await self._tried(record)}"

        return _described(record)

    async def _tried(self, step: PromiseRecord) -> str:
        """Return what has become of a step that is not over."""

        async def act(engine: Engine) -> Sequence[TryRecord]:
            return await read_tries(engine.promises, step)

        tries = await self._world.do(act)

        if not tries or tries[-1].next_at is None or tries[-1].next_at <= self._world.clock():
            return "goes on, and waits for something that the test does"

        last, at = tries[-1], to_the_second(utc(tries[-1].next_at or 0))

        return f"failed in try {last.number} with {last.error} and is tried again at {at}: `await trial.advance(...)`"

    async def _failures(self) -> list[str]:
        """Return what failed in the run and in those that it ran, with the texts, which the API does not show."""
        found = []

        for record in await self._records(unsettled=False):
            if record.state != "rejected":
                continue

            child = await self._child(record)
            found += [] if child is None else await child._failures()  # noqa: SLF001 - of the same class
            found += [f"the step {name_of(record)}: {error_of(record.value.data)}"] if child is None else []

        crash = self._world.surroundings.crashes.get(self.root_id)

        return found if crash is None else [*found, f"the code of {self.root_id}: {crash}"]


def _is_part_of(record: PromiseRecord, question: str) -> bool:
    """Return whether this is the wait of one of several people who must all agree to this question."""
    asked = Asked.read(record)
    name, dash, place = record.tags[CALLBACK_TAG].rpartition("-")

    return asked is not None and asked.inquiry.need == "all" and (name, dash) == (question, "-") and place.isdigit()


def _described(record: PromiseRecord) -> str:
    until = to_the_second(utc(record.timeout_at))
    name = name_of(record)

    if CALLBACK_TAG in record.tags:
        asked = Asked.read(record)
        how = "succeed(...)" if asked is None else "decide(...)"

        if not Terms.read(record).link:
            return (
                f"it waits for {name!r} until {until}, which only the end of its run answers: "
                "`trial.jobs.succeed(trial.jobs.runs[-1].run_id, ...)`, then `await trial.advance(...)`"
            )

        return (
            f"it waits for {name!r} until {until}; answer with `await (await run.waiting({name!r})).{how}` "
            "or let time pass with `await trial.advance(...)`"
        )

    if record.tags.get("resonate:timer") == "true":
        return f"it sleeps until {until}; let time pass with `await trial.advance(...)`"

    return f"it waits for the end of {name}"
