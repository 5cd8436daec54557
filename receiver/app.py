"""The receiver, put together: surfaces, handler table, what surrounds every request.

The application is built by a function and holds no globals. It starts without its engine: `/readyz` tells.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

from starlette.applications import Starlette

from orchestrator.approvals.codes import ApprovalCodes
from orchestrator.callbacks.tokens import TokenSigner
from orchestrator.errors import EngineUnavailable, UnknownPromise
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
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, ExceptionHandler

    from orchestrator.config.settings import Settings
    from orchestrator.engine import Engine
    from orchestrator.runs.definition import Workflow


def create_app(
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
