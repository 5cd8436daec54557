"""Sub-workflows: another workflow as a step of one's own.

The sub-workflow has a root of its own, so it is a workflow like any other: it has an id, belongs to its own worker
group, and can be read and cancelled. Its parent suspends on that root. How it ended is the result of a step of the
parent, so the parent no longer needs the sub-workflow's record after that.
"""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ValidationError
from resonate.error import PlatformError, Suspended
from resonate_base import ConnectorError

from orchestrator.durable.context import Context
from orchestrator.durable.scheduling import PERSISTENT
from orchestrator.engine import Engine
from orchestrator.errors import (
    EngineUnavailable,
    Misused,
    StoreTampered,
    UnknownPromise,
    WorkflowCancelled,
    WorkflowFailed,
)
from orchestrator.failures import error_of, is_tampered
from orchestrator.runs.cancel_record import find_cancel
from orchestrator.runs.cancellation import request_cancel
from orchestrator.runs.children import child_id
from orchestrator.runs.definition import Workflow, field_of
from orchestrator.runs.loading import Loaded
from orchestrator.runs.root_ids import root_id_of
from orchestrator.runs.roots import Parent, start_root, view_root
from orchestrator.sdk_internals import id_of, suspend_until_settled, task_of
from orchestrator.stored_names import CHILD_TAG, DEPTH_TAG
from orchestrator.text.json_writing import dumps_strict
from orchestrator.text.strict_json import loads_strict

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from resonate.context import Context as SDKContext
    from resonate.context import ResonateFuture
    from resonate.types import PromiseRecord

#: The step of a sub-workflow has no deadline of its own; the SDK caps this at the deadline of the parent.
_UNLIMITED: Final = timedelta(days=36_500)


#: How deep workflows may run one another. One that runs itself would never end, and fill the store.
DEEPEST: Final = 32


class Subworkflow:
    """A sub-workflow that was started. Awaiting it suspends the parent until it is over, and returns its result."""

    def __init__(self, future: ResonateFuture[str]) -> None:
        self._future = future

    def __await__(self) -> Generator[Any, None, Any]:
        """Return the result, a JSON value, or raise how else the sub-workflow ended."""
        return self._result().__await__()

    async def _result(self) -> Any:
        return json.loads(await self._future)


def run_workflow[Request: BaseModel](
    ctx: SDKContext, workflow: Workflow[Request], request: Request | Mapping[str, Any]
) -> Subworkflow:
    """Start another workflow as a step of this one; `await` it for its result, a JSON value.

    It starts at once, once, whatever crashes, under an id that begins with the parent's, and ends at its own timeout or
    at its parent's, whichever comes first. It is cancelled when its parent is cancelled, and when its parent ends
    without having awaited it. Several may be awaited together under `asyncio.gather`.

    Awaiting it raises:
        WorkflowFailed, WorkflowExpired, WorkflowCancelled: the sub-workflow ended so, with this error. A cancel of the
            parent is seen here as the sub-workflow's `WorkflowCancelled`, after the sub-workflow has compensated.

    Raises:
        Misused: this is not a workflow, no worker has loaded it, or the request is an instance of another model.
            Awaiting it raises this if the sub-workflow would be more than 32 workflows deep.
        WorkflowFailed: the request does not fit the workflow's model; names the fields. Nothing was started.
        NotJson: the request cannot be written as JSON.
    """
    if not isinstance(workflow, Workflow):
        raise Misused(f"run_workflow needs a workflow, made with @workflow, not a {type(workflow).__name__}")

    if workflow.name not in ctx.get_dependency(Loaded).names:
        raise Misused(
            f"the workflow {workflow.name} is not loaded: import it in its parent's module, or name its own module in "
            "COUNTERSIGN_WORKFLOWS"
        )

    text = _text_of(workflow, request)

    async def child(inner: SDKContext) -> str:
        return await _ended(Context.over(inner), workflow, text)

    flow = Context.over(ctx)
    unlimited = flow.options(timeout=_UNLIMITED)
    future = unlimited.run_part(workflow.name, child, tags={CHILD_TAG: workflow.name})
    flow.at_end(partial(_cancel_unless_over, flow, workflow, future), about=id_of(future))

    return Subworkflow(future)


async def _ended(flow: Context, workflow: Workflow[Any], text: str) -> str:
    """Start the sub-workflow unless it was started, and return the JSON text of its result once it is over."""
    root_id: str | None = await flow.options(retry_policy=PERSISTENT).run(start_child, workflow, text)

    if root_id is None:
        raise WorkflowCancelled(f"the workflow was cancelled before {workflow.name} was started")

    record = await _read(flow, root_id)

    if is_tampered(record):
        raise StoreTampered(root_id)

    view = view_root(record)

    if view.parent != flow.info.id:
        raise WorkflowFailed(f"somebody else started {workflow.name} under the id that was meant for a sub-workflow")

    if view.state == "running":
        suspend_until_settled(flow, root_id)

    if view.state != "succeeded" or view.result is None:
        raise error_of({"ours": view.state, "error": view.error})

    return view.result


async def start_child(ctx: SDKContext, workflow: Workflow[Any], text: str) -> str | None:
    """Start the sub-workflow, as a step, and return its root's id; None if its parent was cancelled before.

    What is started after a cancel belongs to the compensation, and is started.

    Raises:
        Misused: it would be too deep.
    """
    engine = ctx.get_dependency(Engine)
    root = await engine.promises.get(ctx.info.origin_id)
    step_id = ctx.info.parent_id
    requested = await find_cancel(engine.promises, root)

    depth = int(root.tags.get(DEPTH_TAG, "0")) + 1

    if depth > DEEPEST:
        raise Misused(f"{workflow.name} would be {depth} workflows deep: does one of them run itself?")

    if requested is not None and (await engine.promises.get(step_id)).created_at <= requested.created_at:
        return None

    view = await start_root(
        engine,
        name=workflow.name,
        workflow_id=child_id(root, step_id),
        text=text,
        group=workflow.group,
        timeout=workflow.timeout,
        version=workflow.version,
        parent=Parent(step_id=step_id, timeout_at=ctx.info.timeout_at, depth=depth),
    )

    return view.root_id


async def _read(flow: Context, root_id: str) -> PromiseRecord:
    try:
        return await flow.get_dependency(Engine).promises.get(root_id)
    except UnknownPromise:
        raise WorkflowFailed(f"the sub-workflow {root_id} is over, and the engine no longer holds its record") from None
    except EngineUnavailable as error:
        # This is no step that the SDK tries again. Its signal makes it give the task back, and run it again later.
        raise PlatformError([ConnectorError(error)]) from error


async def _cancel_unless_over(flow: Context, workflow: Workflow[Any], future: ResonateFuture[str]) -> None:
    """Cancel a sub-workflow that still runs when its parent's code has ended, and suspend the parent until it is over.

    Not a step: whether the sub-workflow is over by now differs between replays.
    """
    task = task_of(future)
    await asyncio.wait([task])

    if not isinstance(task.exception(), Suspended):
        return

    engine = flow.get_dependency(Engine)

    try:
        root = await engine.promises.get(flow.info.origin_id)
        await request_cancel(engine, root_id_of(workflow.name, child_id(root, await future.id())))
    except EngineUnavailable as error:
        raise PlatformError([ConnectorError(error)]) from error

    await future


def _text_of(workflow: Workflow[Any], request: object) -> str:
    """Return the JSON text of the input of a sub-workflow, which fits the workflow's model."""
    model, place = workflow.request, f"the input of {workflow.name}"
    extra = None

    if isinstance(request, BaseModel):
        if not isinstance(request, model):
            raise Misused(f"{workflow.name} takes a {model.__name__}, not a {type(request).__name__}")

        request = request.model_dump(by_alias=True)
    else:
        extra = "forbid"

    text = dumps_strict(request, place)

    try:
        model.model_validate(loads_strict(text.encode()), extra=extra)
    except ValidationError as error:
        fields = ", ".join(field_of(fault["loc"]) for fault in error.errors(include_input=False))
    else:
        return text

    raise WorkflowFailed(f"{workflow.name} was not started, because its input does not fit: {fields}")
