"""The receiver, put together: surfaces, handler table, what surrounds every request, and the engine below it.

The application is built by a function and holds no globals. It starts without its engine: `/readyz` tells.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from starlette.applications import Starlette

from orchestrator.approvals.codes import ApprovalCodes
from orchestrator.callbacks.tokens import TokenSigner
from orchestrator.engine import connect
from orchestrator.errors import EngineUnavailable, UnknownPromise
from orchestrator.logs import quiet_libraries
from orchestrator.runs.loading import load_workflows
from orchestrator.worker import prepare_worker
from receiver.http.application import Application
from receiver.http.auth import ApiKeys
from receiver.http.bad_tokens import BadTokens
from receiver.http.client_addresses import ClientAddresses
from receiver.http.problems import Problem, exception_handlers
from receiver.http.request_guard import RequestGuard
from receiver.http.telemetry import Metrics
from receiver.pages.approval import Notice, dressed
from receiver.senders.sources import Sources
from receiver.surfaces.approvals import Approvals
from receiver.surfaces.callbacks import Callbacks
from receiver.surfaces.edge import Edge
from receiver.surfaces.operations import Operations
from receiver.surfaces.webhooks import Webhooks
from receiver.surfaces.workflows import Workflows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, ExceptionHandler, Receive, Scope, Send

    from orchestrator.config.settings import Settings
    from orchestrator.engine import Engine
    from orchestrator.runs.definition import Workflow

logger = logging.getLogger("receiver")

_CLOSED: Final = (
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

    With the settings alone its lifespan does what `python -m receiver` does: it loads the workflows, connects the
    engine, runs the workers of an embedded one, and closes it in the end. Whatever is given here is not loaded there.
    Over a given engine it neither opens nor closes anything, and serves whether its lifespan was entered or not.

    Signals and the configuration of logging are left to the process that serves it. The path that it is mounted at is
    the one in the settings' public URL, unless a proxy in front changes paths.

    Raises:
        TypeError: an engine is given without the workflows that it knows.
        ConfigurationError: an engine is given, and the file of sources that the settings name cannot be used.
    """
    if engine is None:
        return Application(partial(_serving, settings, workflows, sources), closed=_closed(settings))

    if workflows is None:
        raise TypeError("an engine is given, so the workflows must be given too")

    app = assemble(settings, engine, workflows, sources)

    return Application(lambda: contextlib.nullcontext(app), closed=app)


@dataclass(frozen=True, kw_only=True)
class Connected:
    """A receiver whose engine is connected and does not work yet."""

    settings: Settings
    engine: Engine
    workflows: Mapping[str, Workflow[Any]]
    sources: Sources

    def app(self) -> ASGIApp:
        """Return the application over this engine."""
        return assemble(self.settings, self.engine, self.workflows, self.sources)

    def work(self) -> None:
        """Start the workers of an embedded engine; those of others are processes of their own."""
        if self.settings.engine.embedded:
            prepare_worker(self.engine, self.settings, self.workflows.values())
            self.engine.start()


@contextlib.asynccontextmanager
async def connected(
    settings: Settings, workflows: Mapping[str, Workflow[Any]] | None = None, sources: Sources | None = None
) -> AsyncIterator[Connected]:
    """Lend a receiver's parts, those that are not given loaded from what the settings name; the engine is stopped.

    Raises:
        StartRefused: the configuration cannot be used, or the engine cannot be had.
    """
    loaded = load_workflows(settings.workflows) if workflows is None else workflows
    chosen = Sources(settings, loaded) if sources is None else sources
    engine = await connect(settings, work=settings.engine.embedded)

    try:
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


def _closed(settings: Settings) -> ASGIApp:
    """Return what answers while there is no engine. It asks everybody to come back, and tells the log why, once."""
    told = False

    async def refuse(_scope: Scope, _receive: Receive, _send: Send) -> None:
        nonlocal told

        if not told:
            told = True
            logger.error(_CLOSED)

        raise Problem("engine-unavailable")

    dress = partial(dressed, organisation=settings.name)

    return RequestGuard(refuse, max_body=settings.max_body, metrics=Metrics(), dress=dress)


def assemble(
    settings: Settings, engine: Engine, workflows: Mapping[str, Workflow[Any]], sources: Sources | None = None
) -> ASGIApp:
    """Return the receiver's application over this engine. It neither opens nor closes the engine.

    Without `sources` the file that the settings name is read here.

    Raises:
        ConfigurationError: that file cannot be used.
    """
    metrics = Metrics()
    api_keys = ApiKeys(settings.api_keys, BadTokens())
    edge = Edge(
        engine=engine,
        signer=TokenSigner(settings.signing_keys),
        metrics=metrics,
        bad_tokens=BadTokens(),
        max_body=settings.max_body,
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
    starting = Workflows(edge, workflows, organisation=settings.name, api_keys=api_keys)
    operations = Operations(edge, workflows, api_keys=api_keys)
    app = Starlette(
        routes=[
            *callbacks.routes(),
            *approvals.routes(),
            *webhooks.routes(),
            *starting.routes(),
            *operations.routes(),
        ],
        exception_handlers=_handlers(metrics, settings.name),
    )
    # It would answer a path with a trailing slash with a redirect that reflects Host and token.
    app.router.redirect_slashes = False

    dress = partial(dressed, organisation=settings.name)

    return ClientAddresses(
        RequestGuard(app, max_body=settings.max_body, metrics=metrics, dress=dress), settings.proxies
    )


def _handlers(metrics: Metrics, organisation: str) -> dict[Any, ExceptionHandler]:
    async def engine_unavailable(_: Request, error: Exception) -> Response:
        metrics.engine_error()

        return Problem("engine-unavailable", str(error)).response()

    async def unknown_promise(_: Request, __: Exception) -> Response:
        return Problem("unknown-promise").response()

    async def notice(_: Request, error: Exception) -> Response:
        return cast("Notice", error).response(organisation)

    table = {**exception_handlers, EngineUnavailable: engine_unavailable, UnknownPromise: unknown_promise}

    return {error: _dressing(handler, organisation) for error, handler in table.items()} | {Notice: notice}


def _dressing(handler: ExceptionHandler, organisation: str) -> ExceptionHandler:
    answer = cast("Callable[[Request, Exception], Awaitable[Response]]", handler)

    async def handle(request: Request, error: Exception) -> Response:
        return dressed(request.scope, await answer(request, error), organisation=organisation)

    return handle
