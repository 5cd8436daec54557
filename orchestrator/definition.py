"""Defining a workflow: `@workflow` over an async function `(ctx, request)`, and finding the ones a module defines.

There is no registry: a definition is a value, a worker registers the ones it was told to load, and the receiver reads
their input schemas from the same values.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ValidationError

from orchestrator.callbacks.waiting import close_callbacks
from orchestrator.context import Context
from orchestrator.errors import ConfigurationError, StepFailed, StoreTampered, WorkflowCancelled, WorkflowEnded
from orchestrator.groups import DEFAULT_GROUP, check_group
from orchestrator.redaction import redact
from orchestrator.roots import Ending, Start, cancel_requested

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from resonate.context import Context as SDKContext

logger = logging.getLogger(__name__)

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)

#: How long a workflow may take unless it says otherwise. Its waits can be no longer than it.
DEFAULT_TIMEOUT: Final = timedelta(days=400)


@dataclass(frozen=True, kw_only=True)
class Workflow[Request: BaseModel]:
    """A workflow: its name, its code, and the pydantic model of its input.

    `group` is the worker group that runs it; `timeout` bounds it as a whole.
    """

    name: str
    body: Callable[[Context, Request], Awaitable[Any]]
    request: type[Request]
    group: str
    timeout: timedelta
    summary: str

    async def __call__(self, ctx: SDKContext, start: Any) -> Any:
        """Run the workflow's code and return how it ended, as the root promise holds it: never an exception.

        An unexpected error ends the workflow as failed, with its text, or as cancelled where that was asked for.
        """
        flow = Context.over(ctx)
        ending = await self._run(flow, start)
        await close_callbacks(flow)

        if flow.tampered is not None:
            # Whatever the workflow's own code made of it.
            ending = Ending.failed(str(StoreTampered(flow.tampered)))

        return ending.stored()

    async def _run(self, flow: Context, start: object) -> Ending:
        try:
            request = self.request.model_validate(Start.read(start, root_id=flow.info.id).request)

            return Ending.succeeded(await self.body(flow, request))

        except WorkflowEnded as end:
            return Ending(state=end.state, error=end.error)
        except ValidationError as error:
            fields = ", ".join(field_of(fault["loc"]) for fault in error.errors(include_input=False))

            return Ending.failed(f"the stored input does not fit this version of the workflow: {fields}")
        except Exception as error:
            if await flow.run(cancel_requested):
                return Ending(state="cancelled", error=WorkflowCancelled("the workflow was cancelled").error)

            logger.error("workflow %s failed", flow.info.id, exc_info=error)  # noqa: TRY400 - as raised, not from here

            # What it says may quote anything, a link it failed to hand out too.
            return Ending.failed(
                redact(str(error) if isinstance(error, StepFailed) else f"{type(error).__name__}: {error}")
            )


def workflow[Request: BaseModel](
    *, name: str | None = None, group: str = DEFAULT_GROUP, timeout: timedelta = DEFAULT_TIMEOUT
) -> Callable[[Callable[[Context, Request], Awaitable[Any]]], Workflow[Request]]:
    """Make a workflow of an async function `(ctx, request)`, `request` annotated with a pydantic model.

    The name defaults to the function's. The first line of its docstring is the summary that the API shows.

    Raises:
        TypeError: the function is not async, or its second parameter names no pydantic model.
        ValueError: a name that is not 1 to 64 of `A-Za-z0-9_-`, or a group's name that can be none.
    """
    check_group(group)

    def define(body: Callable[[Context, Request], Awaitable[Any]]) -> Workflow[Request]:
        chosen = name if name is not None else getattr(body, "__name__", "")

        if _NAME.fullmatch(chosen) is None:
            msg = f"a workflow's name is 1 to 64 of A-Z a-z 0-9 _ -, not {chosen!r}"
            raise ValueError(msg)

        if not inspect.iscoroutinefunction(body):
            msg = f"the workflow {chosen} must be an async function"
            raise TypeError(msg)

        summary = (inspect.getdoc(body) or chosen).partition("\n")[0]

        return Workflow(
            name=chosen, body=body, request=_request_model(body, chosen), group=group, timeout=timeout, summary=summary
        )

    return define


def load_workflows(modules: Iterable[str]) -> dict[str, Workflow[Any]]:
    """Return the workflows that these modules define or import, by name.

    Raises:
        ConfigurationError: a module that cannot be imported, holds no workflow, or two workflows of one name.
    """
    found: dict[str, Workflow[Any]] = {}

    for number, module_name in enumerate(modules, start=1):
        try:
            module = importlib.import_module(module_name)
        except ImportError as error:
            # What it needs may be named, its own name not: that is the setting's value.
            foreign = error.name if error.name and not f"{module_name}.".startswith(f"{error.name}.") else None
            needs = f": it needs {foreign}" if foreign else ""
            reason = f"names a module, number {number}, that cannot be imported{needs}"
            raise ConfigurationError("COUNTERSIGN_WORKFLOWS", reason) from error

        defined = [value for value in vars(module).values() if isinstance(value, Workflow)]

        if not defined:
            reason = f"names a module, number {number}, that has no workflow"
            raise ConfigurationError("COUNTERSIGN_WORKFLOWS", reason)

        for one in defined:
            if found.setdefault(one.name, one) is not one:
                raise ConfigurationError("COUNTERSIGN_WORKFLOWS", f"has two workflows of the name {one.name}")

    return found


def field_of(location: tuple[int | str, ...]) -> str:
    """Return the name of a field as an error shows it: `items.2`, or `input` for the input as a whole."""
    return ".".join(str(part) for part in location) or "input"


def _request_model(body: Callable[..., Any], name: str) -> Any:
    parameters = list(inspect.signature(body).parameters)
    wanted = 2

    if len(parameters) == wanted:
        # Only this one annotation is resolved: the other may name what is imported for type checkers alone.
        alone = type("_", (), {"__annotations__": {"request": body.__annotations__.get(parameters[1])}})
        model = inspect.get_annotations(alone, globals=body.__globals__, eval_str=True)["request"]

        if inspect.isclass(model) and issubclass(model, BaseModel):
            return model

    msg = f"the workflow {name} must take (ctx, request), with request annotated by a pydantic model"
    raise TypeError(msg)
