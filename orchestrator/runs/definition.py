"""Defining a workflow: `@workflow` over an async function `(ctx, request)`.

There is no registry: a definition is a value. A worker registers the ones that its settings name, and the receiver
reads their input schemas from the same values.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec
from pydantic import BaseModel, ValidationError
from resonate.error import Suspended

from orchestrator.config.groups import DEFAULT_GROUP
from orchestrator.durable.body import Body
from orchestrator.durable.context import Context
from orchestrator.durable.fixed_signature import FixedSignature
from orchestrator.durable.group_steps import check_group
from orchestrator.durable.under_way import LATE
from orchestrator.engine import Engine
from orchestrator.errors import (
    CANCELLED,
    CodeChanged,
    Misdefined,
    Misused,
    NotJson,
    NotUndone,
    StepFailed,
    StoreTampered,
    WorkflowCancelled,
    WorkflowEnded,
    WorkflowFailed,
)
from orchestrator.runs.cancel_record import cancel_requested
from orchestrator.runs.cancel_watch import CancelWatch
from orchestrator.runs.changed_code import suspend_or_cancel
from orchestrator.runs.end_log import CrashWatch, EndLog
from orchestrator.runs.root_ids import is_workflow_name
from orchestrator.runs.roots import Ending
from orchestrator.runs.start import Start, is_numbered_by_part
from orchestrator.runs.told_errors import told
from orchestrator.text.crashes import describe_crash
from orchestrator.tracing import trace_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from resonate.context import Context as SDKContext


_LAST_VERSION: Final = 1000

#: How long a workflow may take unless it says otherwise. Its waits cannot last longer.
DEFAULT_TIMEOUT: Final = timedelta(days=400)


@dataclass(frozen=True, kw_only=True)
class Workflow[Request: BaseModel]:
    """A workflow: its name, its code, and the pydantic model of its input.

    `group` is the worker group that runs it; `timeout` limits the workflow as a whole.
    """

    name: str
    body: Callable[[Context, Request], Coroutine[Any, Any, Any]]
    request: type[Request]
    group: str
    timeout: timedelta
    summary: str
    version: int = 1
    #: The definitions of lower versions, the highest first, that runs began under and end under.
    earlier: tuple[Workflow[Any], ...] = ()

    __signature__ = FixedSignature.of("ctx", "start")

    def of_version(self, version: int) -> Workflow[Any]:
        """Return the definition for runs that began under this version: that version, or the next higher one kept."""
        return min((each for each in (self, *self.earlier) if each.version >= version), key=lambda each: each.version)

    @property
    def instead(self) -> str:
        """What is to be done instead of passing this to `ctx.run`."""
        return f"is a workflow: write await run_workflow(ctx, {self.name}, request)"

    async def __call__(self, ctx: SDKContext, start: Any) -> Any:
        """Run the workflow's code and return how it ended, as the root promise holds it. Errors of the code end it too.

        An unexpected error ends the workflow as failed, with the error's type and place, or as cancelled if somebody
        asked for that. So does a result that JSON cannot hold, with the place in the result. Code that returns after
        its cancel has reached it has been cancelled too, and keeps what it returned.

        Raises:
            Misused: an author's code has called this.
        """
        if isinstance(ctx, Context):
            raise Misused(f"{self.name} {self.instead}")

        flow = Context.over(ctx)
        trace = trace_of(start)

        if is_numbered_by_part(start):
            flow.number_by_part()

        try:
            with flow.get_dependency(Engine).tracing.within(trace), CancelWatch(flow):
                ending = await self._ending(flow, start)
        finally:
            flow.end()

        if flow.tampered is not None:
            # The workflow's own code may have caught the error.
            ending = Ending.failed(str(StoreTampered(flow.tampered)), unexpected=True)

        flow.get_dependency(EndLog).returned(flow.info.id, ending, trace)

        return ending.stored()

    async def _ending(self, flow: Context, start: object) -> Ending:
        try:
            ending = await self._run(flow, start)

            if await flow.finish() and ending.state == "succeeded":
                ending = Ending.failed(LATE, unexpected=True)

            if ending.abandons:
                await flow.await_nothing()

        except (CodeChanged, Suspended):
            if flow.changed is None:
                raise

        else:
            # The workflow's own code may have caught the error.
            if flow.changed is None:
                return ending

        return Ending.raised(await suspend_or_cancel(flow, flow.changed))

    async def _run(self, flow: Context, start: object) -> Ending:
        try:
            result = await flow.interrupts.drive(Body(self.body(flow, self._request(flow, start)), flow.under_way))
            await flow.check_finished()
            ending = Ending.succeeded(result)
            flow.calls.check_slept()

            return await self._after_cancel(flow, ending)

        except WorkflowEnded as end:
            return await self._after_cancel(flow, Ending.raised(end))
        except StoreTampered as error:
            return Ending.failed(str(error), unexpected=True)
        except NotUndone as error:
            return self._not_undone(error)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever an author's code raises
            if flow.changed is not None:
                raise Suspended from None

            if await flow.shielded.run(cancel_requested):
                return Ending.raised(WorkflowCancelled(CANCELLED))

            return self._unexpected(flow, error)

    def _unexpected(self, flow: Context, error: BaseException) -> Ending:
        flow.get_dependency(CrashWatch).watch(flow.info.id, error)

        if isinstance(error, Misused):
            return msgspec.structs.replace(Ending.failed(told(error, self.body), unexpected=True), abandons=True)

        described = told(error, self.body)
        # The tries of the step are in the log. The way of its error through the workflow is ours, not the author's.
        shown = described if isinstance(error, StepFailed | NotJson) else describe_crash(error)

        if isinstance(error, TypeError | AttributeError) and (forgotten := flow.calls.forgotten()) is not None:
            # What was not awaited was used, as the result that it would have had.
            described, shown = f"{described}; {forgotten}", f"{shown}; {forgotten}"

        return Ending.failed(described, shown=shown, unexpected=True)

    async def _after_cancel(self, flow: Context, ending: Ending) -> Ending:
        """Return how code has ended by itself, although a cancel may have reached it."""
        if ending.state == "cancelled" or not flow.cancel_seen or not await flow.shielded.run(cancel_requested):
            return ending

        return ending.of_a_cancelled()

    def _request(self, flow: Context, start: object) -> Request:
        try:
            return self.request.model_validate(Start.read(start, root_id=flow.info.id).request)
        except ValidationError as error:
            fields = ", ".join(field_of(fault["loc"]) for fault in error.errors(include_input=False))
            reason = f"the stored input does not fit this version of the workflow: {fields}"

        raise WorkflowFailed(reason)

    def _not_undone(self, error: NotUndone) -> Ending:
        cause, fields = error.__cause__, dict[str, object]()

        if isinstance(cause, WorkflowEnded):
            reason = str(cause)
            fields = {name: value for name, value in cause.error.items() if name != "message"}
        else:
            reason = "" if cause is None else told(cause, self.body)

        ending = Ending.raised(WorkflowFailed(f"{reason}; {error}", **fields))

        return msgspec.structs.replace(ending, shown=describe_crash(error), unexpected=True)


def workflow[Request: BaseModel](
    *misplaced: object,
    name: str | None = None,
    group: str = DEFAULT_GROUP,
    timeout: timedelta = DEFAULT_TIMEOUT,
    version: int = 1,
) -> Callable[[Callable[[Context, Request], Coroutine[Any, Any, Any]]], Workflow[Request]]:
    """Make a workflow of an async function `(ctx, request)`, `request` annotated with a pydantic model.

    The function returns what JSON can hold, and ends the workflow in another way by raising `WorkflowFailed`,
    `WorkflowExpired` or `WorkflowCancelled`. Start it over the API, in a `Trial` or by `run_workflow`; only the engine
    calls it.

    The name defaults to the function's. The first line of its docstring is the summary that the API shows. `group` is
    the worker group that runs it. After `timeout` it is over, `expired`, and none of its code runs any more.

    `version` tells several definitions of one name apart: new runs start under the highest, and a run ends under the
    one it began under as long as a loaded module defines that.

    Raises:
        Misdefined: the function is not async, its second parameter is not annotated with a pydantic model, the name is
            not 1 to 64 of `A-Za-z0-9_-`, the group's name is invalid, the timeout is no timedelta of more than 0, or
            the version is not 1 to 1000. So does `@workflow` without parentheses.
    """
    if misplaced:
        raise Misdefined("write @workflow() with parentheses over the function, and name each argument in them")

    check_group(group)

    if not _is_duration(timeout):
        raise Misdefined("a workflow's timeout is a timedelta of more than 0, such as timedelta(days=30)")

    if type(version) is not int or not 1 <= version <= _LAST_VERSION:
        raise Misdefined(f"a workflow's version is 1 to {_LAST_VERSION}, not {version!r}")

    def define(body: Callable[[Context, Request], Coroutine[Any, Any, Any]]) -> Workflow[Request]:
        chosen = name if name is not None else getattr(body, "__name__", "")

        if not is_workflow_name(chosen):
            raise Misdefined(f"a workflow's name is 1 to 64 of A-Z a-z 0-9 _ -, not {chosen!r}")

        if not inspect.iscoroutinefunction(body):
            raise Misdefined(f"the workflow {chosen} must be an async function")

        summary = (inspect.getdoc(body) or chosen).partition("\n")[0]

        return Workflow(
            name=chosen,
            body=body,
            request=_request_model(body, chosen),
            group=group,
            timeout=timeout,
            summary=summary,
            version=version,
        )

    return define


def _is_duration(given: object) -> bool:
    return isinstance(given, timedelta) and given > timedelta(0)


def field_of(location: tuple[int | str, ...]) -> str:
    """Return the name of a field as an error shows it: `items.2`, or `input` for the input as a whole."""
    return ".".join(str(part) for part in location) or "input"


def _request_model(body: Callable[..., Any], name: str) -> Any:
    parameters = list(inspect.signature(body).parameters)
    wanted = 2

    if len(parameters) == wanted:
        # Only this annotation is resolved. The others may name what is imported for type checkers only.
        alone = type("_", (), {"__annotations__": {"request": body.__annotations__.get(parameters[1])}})

        try:
            model = inspect.get_annotations(alone, globals=body.__globals__, eval_str=True)["request"]
        except NameError as error:
            raise Misdefined(
                f"the workflow {name} annotates request with what its module does not define: {error.name}"
            ) from error

        if inspect.isclass(model) and issubclass(model, BaseModel):
            return model

    raise Misdefined(f"the workflow {name} must take (ctx, request), with request annotated with a pydantic model")
