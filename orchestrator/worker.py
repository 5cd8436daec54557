"""A worker: an engine with the functions of its group registered, and everything that the steps need."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any

from resonate.error import ApplicationError

from orchestrator.approvals.codes import ApprovalCodes
from orchestrator.approvals.reminders import REMIND, remind
from orchestrator.by_hand.reminding import REMIND_NOW, remind_now
from orchestrator.callbacks.address import Links
from orchestrator.callbacks.tokens import TokenSigner
from orchestrator.databricks.hints import HINT, follow_hint
from orchestrator.databricks.jobs import Databricks
from orchestrator.databricks.watcher import POLL, poll
from orchestrator.durable.context import Context
from orchestrator.durable.dependencies import opened
from orchestrator.durable.kept_files import KeptFiles
from orchestrator.durable.scheduling import PERSISTENT
from orchestrator.durable.step_traces import trace_of_workflow, traced_step
from orchestrator.durable.steps import awaitable
from orchestrator.durable.storable import check_storable
from orchestrator.durable.tries import FailedTry, TryWatch, try_step
from orchestrator.errors import ConfigurationError
from orchestrator.llm.chat import LanguageModel
from orchestrator.mail.mailer import Mailer
from orchestrator.runs.cancel_record import CANCEL
from orchestrator.runs.cancellation import drive_cancel
from orchestrator.runs.end_log import CrashWatch, EndLog
from orchestrator.runs.group_ping import PING, ping
from orchestrator.runs.loading import Loaded, dependencies_of, groups_of, steps_called, with_subworkflows
from orchestrator.sdk_internals import watch_ends
from orchestrator.web.pages import DEFAULT_PLACE as PAGES
from orchestrator.web.pages import Pages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractAsyncContextManager

    from resonate.context import Context as SDKContext

    from orchestrator.config.settings import Settings
    from orchestrator.durable.dependencies import Dependency
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
    pages: Pages | None = None,
    signer: TokenSigner | None = None,
    watch_tries: Callable[[FailedTry], None] | None = None,
    crashes: CrashWatch | None = None,
) -> None:
    """Make this engine's process a worker for one group, or for all. It takes no task before `engine.start()`.

    What its steps get beyond our own objects is opened by `dependencies_opened`. `watch_tries` is called with each try
    of a step that failed here; it must not raise. `crashes` gets the errors of workflows' own code.

    Raises:
        ConfigurationError: a step cannot be registered, or has the same name as another step or a workflow.
    """
    loaded = with_subworkflows(workflows)
    steps = steps_called(loaded)
    resonate = engine.resonate
    resonate.with_dependency(engine)
    own_signer = signer if signer is not None else TokenSigner(settings.signing_keys, clock=engine.clock)
    resonate.with_dependency(Loaded(frozenset(one.name for one in loaded)))
    resonate.with_dependency(Links(own_signer, settings.public_url))
    resonate.with_dependency(ApprovalCodes(settings.signing_keys))
    counts = engine.counts
    workspace = databricks if databricks is not None else Databricks(variables=settings.databricks, counts=counts)
    post = Mailer(settings.mail, name=settings.name, clock=engine.clock, counts=counts) if mailer is None else mailer
    resonate.with_dependency(workspace)
    resonate.with_dependency(post)
    resonate.with_dependency(LanguageModel(settings.llm, counts=counts, clock=engine.clock))
    kept = KeptFiles(PAGES, most_files=200)
    fetches = Pages(allowed=settings.fetch_allow, kept=kept, clock=engine.clock) if pages is None else pages
    resonate.with_dependency(fetches)
    resonate.with_dependency(TryWatch(functools.partial(_failed, engine, watch_tries)))
    resonate.with_dependency(CrashWatch() if crashes is None else crashes)
    _log_ends(engine)

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
    resonate.register(remind_now, name=REMIND_NOW, retry_policy=PERSISTENT)


def _failed(engine: Engine, watch: Callable[[FailedTry], None] | None, failed: FailedTry) -> None:
    engine.counts.add("step_failures", failed.step)
    engine.tracing.event("try failed", {"try": failed.number, "error": failed.kind, "place": failed.place})

    if watch is not None:
        watch(failed)


def _log_ends(engine: Engine) -> None:
    ends = EndLog(engine.counts, lambda: engine.tracing)
    engine.resonate.with_dependency(ends)
    watch_ends(engine.resonate, ends.recorded, ends.headers)
    engine.watch_expired(ends.expired)


def dependencies_opened(  # noqa: PLR0913 - what may be opened, and what stands in for it
    engine: Engine,
    workflows: Iterable[Workflow[Any]],
    modules: Iterable[str] = (),
    *,
    group: str | None = None,
    given: Iterable[object] | Mapping[Any, object] = (),
    instead: Iterable[Dependency[Any]] = (),
) -> AbstractAsyncContextManager[None]:
    """Open the dependencies of a worker's steps, and close them at the end. Stop the engine before that.

    `modules` are those that the workflows were loaded from. `given` and `instead` stand in for dependencies; see
    `opened`.

    Raises:
        DependencyUnusable: one cannot be opened; those opened before it are closed.
        ConfigurationError: two of them give the same type.
    """
    loaded = dependencies_of(with_subworkflows(workflows), modules, group=group)

    return opened(engine.resonate, loaded, given, instead)


def _register(engine: Engine, step: GroupStep[..., Any]) -> None:
    """Register a step, wrapped so that its tries are made here and its result is one that the engine can store."""

    @functools.wraps(step.body)
    async def tried(ctx: SDKContext, *arguments: Any, **named: Any) -> Any:
        inner = Context.over(ctx)

        async def call() -> Any:
            result = await awaitable(step.name, step.body(inner, *arguments, **named))
            check_storable(result, f"the result of {step.name}")

            return result

        with engine.tracing.within(await trace_of_workflow(engine, ctx.info.id)), traced_step(inner, step.name):
            return await try_step(inner, step.name, step.policy, step.body, call)

    try:
        engine.resonate.register(tried, name=step.name)
    except ApplicationError as error:
        reason = f"has a group step that does not take `ctx` first: {step.name}"
        raise ConfigurationError("COUNTERSIGN_WORKFLOWS", reason) from error
