"""The receiver, put together: surfaces, exception handlers, the middleware around every request, and the engine.

The application is built by a function and holds no globals. It starts without its engine; `/readyz` says whether the
engine responds.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from orchestrator.approvals.codes import ApprovalCodes
from orchestrator.callbacks.tokens import TokenSigner
from orchestrator.engine import connect
from orchestrator.errors import EngineUnavailable, UnknownPromise
from orchestrator.logs import quiet_libraries
from orchestrator.runs.loading import load_workflows
from orchestrator.worker import dependencies_opened, prepare_worker
from receiver.http.application import Application
from receiver.http.auth import ApiKeys
from receiver.http.bad_tokens import BadTokens
from receiver.http.client_addresses import ClientAddresses
from receiver.http.problems import Problem, exception_handlers
from receiver.http.request_guard import RequestGuard
from receiver.http.routing import Routes
from receiver.http.telemetry import Metrics, WorkMetrics
from receiver.pages.notice import Notice
from receiver.pages.refusals import Refusals
from receiver.senders.sources import Sources
from receiver.surfaces.approvals import Approvals
from receiver.surfaces.by_hand import ByHand
from receiver.surfaces.callbacks import Callbacks
from receiver.surfaces.cancels import Cancels
from receiver.surfaces.console import Console
from receiver.surfaces.documentation import Documentation
from receiver.surfaces.edge import Edge
from receiver.surfaces.lists import Lists
from receiver.surfaces.operations import Operations
from receiver.surfaces.webhooks import Webhooks
from receiver.surfaces.workflows import Workflows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    from orchestrator.config.settings import Settings
    from orchestrator.engine import Engine
    from orchestrator.runs.definition import Workflow
    from receiver.http.routing import ErrorHandler

logger = logging.getLogger("receiver")

_NOT_RUNNING: Final = (
    "a request was refused, because this application is not running: the application that it is mounted in must enter "
    "its lifespan, as in Starlette(routes=[Mount(path, app)], lifespan=app.lifespan) or FastAPI(lifespan=app.lifespan)"
)


def create_app(
    settings: Settings,
    engine: Engine | None = None,
    workflows: Mapping[str, Workflow[Any]] | None = None,
    sources: Sources | None = None,
) -> Application:
    """Return the receiver as an ASGI application, to be served alone or mounted below a path of another one.

    With the settings alone, its lifespan does what `python -m receiver` does: it loads the workflows, connects the
    engine, runs the workers of an embedded engine, and closes the engine at the end. Workflows and sources that are
    passed in are not loaded again. With an engine passed in, it opens and closes nothing, and it serves whether or not
    its lifespan was entered.

    The process that serves it handles signals and configures logging. It must be mounted at the path of the settings'
    public URL, unless a proxy in front changes paths.

    Raises:
        TypeError: an engine is given without its workflows.
        ConfigurationError: an engine is given, and the sources file that the settings name cannot be used.
    """
    if engine is None:
        return Application(partial(_serving, settings, workflows, sources), closed=_unavailable(settings))

    if workflows is None:
        raise TypeError("an engine is given, so the workflows must be given too")

    app = assemble(settings, engine, workflows, sources)

    return Application(lambda: contextlib.nullcontext(app), closed=app)


@dataclass(frozen=True, kw_only=True)
class Connected:
    """A receiver whose engine is connected and whose workers have not started yet."""

    settings: Settings
    engine: Engine
    workflows: Mapping[str, Workflow[Any]]
    sources: Sources

    def app(self) -> ASGIApp:
        """Return the application over this engine."""
        return assemble(self.settings, self.engine, self.workflows, self.sources)

    def work(self) -> None:
        """Start the workers of an embedded engine. Other engines have workers in processes of their own."""
        if self.settings.engine.embedded:
            self.engine.start()


@contextlib.asynccontextmanager
async def connected(
    settings: Settings, workflows: Mapping[str, Workflow[Any]] | None = None, sources: Sources | None = None
) -> AsyncIterator[Connected]:
    """Yield the receiver's parts, and stop the engine at the end. Parts that are not given are loaded as configured.

    With an embedded engine the dependencies of all workers are open in between.

    Raises:
        StartRefused: the configuration cannot be used, or the engine or a dependency cannot be opened.
    """
    modules = settings.workflows if workflows is None else ()
    loaded = load_workflows(modules) if workflows is None else workflows
    chosen = Sources(settings, loaded) if sources is None else sources

    async with contextlib.AsyncExitStack() as stack:
        engine = await connect(settings, work=settings.engine.embedded)

        try:
            if settings.engine.embedded:
                prepare_worker(engine, settings, loaded.values())
                await stack.enter_async_context(dependencies_opened(engine, loaded.values(), modules))

            yield Connected(settings=settings, engine=engine, workflows=loaded, sources=chosen)
        finally:
            await engine.stop()


@contextlib.asynccontextmanager
async def _serving(
    settings: Settings, workflows: Mapping[str, Workflow[Any]] | None, sources: Sources | None
) -> AsyncIterator[ASGIApp]:
    quiet_libraries()

    async with connected(settings, workflows, sources) as parts:
        app = parts.app()
        parts.work()
        yield app


def _unavailable(settings: Settings) -> ASGIApp:
    """Return the application that responds while the lifespan is not entered: 503, with the reason logged once."""
    logged = False

    async def refuse(_scope: Scope, _receive: Receive, _send: Send) -> None:
        nonlocal logged

        if not logged:
            logged = True
            logger.error(_NOT_RUNNING)

        raise Problem("engine-unavailable")

    as_page = Refusals(settings.name, settings.public_url).as_page

    return RequestGuard(refuse, max_body=settings.max_body, metrics=Metrics(), as_page=as_page)


def assemble(
    settings: Settings, engine: Engine, workflows: Mapping[str, Workflow[Any]], sources: Sources | None = None
) -> ASGIApp:
    """Return the receiver's application over this engine. It neither opens nor closes the engine.

    Without `sources`, the sources file that the settings name is read here.

    Raises:
        ConfigurationError: that file cannot be used.
    """
    host = settings.databricks.get("DATABRICKS_HOST")
    cached = () if engine.cache is None else engine.cache
    work = WorkMetrics(engine.counts, workflows, works=engine.embedded, cached=cached)
    metrics = Metrics(work)
    api_keys = ApiKeys(settings.api_keys, BadTokens())
    edge = Edge(
        engine=engine,
        signer=TokenSigner(settings.signing_keys),
        metrics=metrics,
        bad_tokens=BadTokens(),
        max_body=settings.max_body,
        workspace=None if host is None else host.text(),
    )
    callbacks = Callbacks(edge, caller_secrets=settings.caller_secrets, bad_proofs=BadTokens())
    approvals = Approvals(
        edge, ApprovalCodes(settings.signing_keys), organisation=settings.name, public_url=settings.public_url
    )
    webhooks = Webhooks(
        edge,
        sources if sources is not None else Sources(settings, workflows),
        group=settings.group,
        bad_signatures=BadTokens(),
    )
    cancels = Cancels(edge)
    starting = Workflows(
        edge, workflows, organisation=settings.name, public_url=settings.public_url, api_keys=api_keys, cancels=cancels
    )
    by_hand = ByHand(edge, api_keys=api_keys, root_of=starting.root_of, unknown=starting.unknown)
    operations = Operations(edge, workflows, public_url=settings.public_url, api_keys=api_keys)
    documentation = Documentation(organisation=settings.name)
    refusals = Refusals(settings.name, settings.public_url)
    console = Console(
        edge,
        workflows,
        settings.signing_keys,
        organisation=settings.name,
        public_url=settings.public_url,
        api_keys=api_keys,
        cancels=cancels,
        by_hand=by_hand,
    )
    app = Routes(
        [
            *callbacks.routes(),
            *approvals.routes(),
            *webhooks.routes(),
            *by_hand.routes(),
            *starting.routes(),
            *Lists(edge, api_keys=api_keys).routes(),
            *operations.routes(),
            *documentation.routes(),
            *console.routes(),
        ],
        _error_handlers(metrics, settings.name, refusals),
    )

    return ClientAddresses(
        RequestGuard(app, max_body=settings.max_body, metrics=metrics, as_page=refusals.as_page), settings.proxies
    )


def _error_handlers(metrics: Metrics, organisation: str, refusals: Refusals) -> Mapping[type[Exception], ErrorHandler]:
    async def engine_unavailable(_: Request, error: Exception) -> Response:
        metrics.engine_error()

        return Problem("engine-unavailable", str(error)).response()

    async def unknown_promise(_: Request, __: Exception) -> Response:
        return Problem("unknown-promise").response()

    async def notice(_: Request, error: Exception) -> Response:
        return cast("Notice", error).response(organisation)

    table = {**exception_handlers, EngineUnavailable: engine_unavailable, UnknownPromise: unknown_promise}

    return {error: _with_pages(handler, refusals) for error, handler in table.items()} | {Notice: notice}


def _with_pages(handler: ErrorHandler, refusals: Refusals) -> ErrorHandler:
    async def handle(request: Request, error: Exception) -> Response:
        return refusals.as_page(request.scope, await handler(request, error))

    return handle
