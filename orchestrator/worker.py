"""A worker: an engine with the functions of its group registered, and everything that the steps need."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any

from resonate.error import ApplicationError

from orchestrator.approvals.codes import ApprovalCodes
from orchestrator.approvals.reminders import REMIND, remind
from orchestrator.callbacks.callback import Links
from orchestrator.callbacks.tokens import TokenSigner
from orchestrator.databricks.hints import HINT, follow_hint
from orchestrator.databricks.jobs import Databricks
from orchestrator.databricks.watcher import POLL, poll
from orchestrator.durable.context import Context, check_storable
from orchestrator.durable.dependencies import opened
from orchestrator.durable.scheduling import PERSISTENT
from orchestrator.durable.steps import awaitable
from orchestrator.durable.tries import FailedTry, TryWatch, try_step
from orchestrator.errors import ConfigurationError
from orchestrator.mail.mailer import Mailer
from orchestrator.runs.cancel_record import CANCEL
from orchestrator.runs.cancellation import drive_cancel
from orchestrator.runs.group_ping import PING, ping
from orchestrator.runs.loading import by_name, dependencies_of, groups_of, steps_called

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractAsyncContextManager

    from resonate.context import Context as SDKContext

    from orchestrator.config.settings import Settings
    from orchestrator.durable.group_steps import GroupStep
    from orchestrator.engine import Engine
    from orchestrator.runs.definition import Workflow


logger = logging.getLogger(__name__)


def prepare_worker(  # noqa: PLR0913 - what a worker is made of, all of it named
    engine: Engine,
    settings: Settings,
    workflows: Iterable[Workflow[Any]],
    *,
    group: str | None = None,
    databricks: Databricks | None = None,
    mailer: Mailer | None = None,
    watch_tries: Callable[[FailedTry], None] | None = None,
) -> None:
    """Make this engine's process a worker for one group, or for all. It takes no task before `engine.start()`.

    What its steps get beyond our own objects is opened by `dependencies_opened`. `watch_tries` is called with each try
    of a step that failed here; it must not raise.

    Raises:
        ConfigurationError: a step cannot be registered, or has the same name as another step or a workflow.
    """
    loaded = tuple(by_name(workflows).values())
    steps = steps_called(loaded)
    resonate = engine.resonate
    resonate.with_dependency(engine)
    resonate.with_dependency(Links(TokenSigner(settings.signing_keys, clock=engine.clock), settings.public_url))
    resonate.with_dependency(ApprovalCodes(settings.signing_keys))
    resonate.with_dependency(databricks if databricks is not None else Databricks(variables=settings.databricks))
    resonate.with_dependency(
        mailer if mailer is not None else Mailer(settings.mail, name=settings.name, clock=engine.clock)
    )
    resonate.with_dependency(TryWatch(watch_tries))

    if group is not None and group not in groups_of(loaded):
        logger.warning(
            "no workflow or step belongs to group %s; these groups exist: %s", group, ", ".join(groups_of(loaded))
        )

    for workflow in loaded:
        for version in range(1, workflow.version + 1):
            definition = workflow.of_version(version)

            if group in {None, definition.group}:
                resonate.register(definition, name=workflow.name, version=version)

    for step in steps:
        if step.name in {workflow.name for workflow in loaded}:
            reason = f"has a workflow and a group step with the same name: {step.name}"
            raise ConfigurationError("COUNTERSIGN_WORKFLOWS", reason)

        if group in {None, step.group}:
            _register(engine, step)

    resonate.register(drive_cancel, name=CANCEL)
    resonate.register(follow_hint, name=HINT)
    resonate.register(poll, name=POLL, retry_policy=PERSISTENT)
    resonate.register(ping, name=PING)
    resonate.register(remind, name=REMIND, retry_policy=PERSISTENT)


def dependencies_opened(
    engine: Engine,
    workflows: Iterable[Workflow[Any]],
    modules: Iterable[str] = (),
    *,
    group: str | None = None,
    given: Iterable[object] = (),
) -> AbstractAsyncContextManager[None]:
    """Open the dependencies of a worker's steps, and close them at the end. Stop the engine before that.

    `modules` are those that the workflows were loaded from. An object in `given` stands in for the dependency of its
    type.

    Raises:
        DependencyUnusable: one cannot be opened; those opened before it are closed.
        ConfigurationError: two of them give the same type.
    """
    return opened(engine.resonate, dependencies_of(workflows, modules, group=group), given)


def _register(engine: Engine, step: GroupStep[..., Any]) -> None:
    """Register a step, wrapped so that its tries are made here and its result is one that the engine can store."""

    @functools.wraps(step.body)
    async def tried(ctx: SDKContext, *arguments: Any, **named: Any) -> Any:
        inner = Context.over(ctx)

        async def call() -> Any:
            result = await awaitable(step.name, step.body(inner, *arguments, **named))
            check_storable(result, f"the result of {step.name}")

            return result

        return await try_step(inner, step.name, step.policy, step.body, call)

    try:
        engine.resonate.register(tried, name=step.name)
    except ApplicationError as error:
        reason = f"has a group step that does not take `ctx` first: {step.name}"
        raise ConfigurationError("COUNTERSIGN_WORKFLOWS", reason) from error
