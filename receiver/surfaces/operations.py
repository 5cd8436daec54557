"""Endpoints for operators and tools: the way to the console, liveness, readiness, metrics, the OpenAPI document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from starlette.responses import JSONResponse, Response

from receiver.http.routing import route
from receiver.openapi.document import document
from receiver.pages.approval import redirect
from receiver.surfaces.readiness import Readiness

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.routing import Route

    from orchestrator.runs.definition import Workflow
    from receiver.http.auth import ApiKeys
    from receiver.surfaces.edge import Edge


class Operations:
    """The surfaces `/`, `/healthz`, `/readyz`, `/metrics` and `/openapi.json`."""

    def __init__(
        self, edge: Edge, workflows: Mapping[str, Workflow[Any]], *, public_url: str, api_keys: ApiKeys
    ) -> None:
        self._public_path = urlsplit(public_url).path
        self._readiness = Readiness(edge.engine.check, seconds=edge.engine.seconds)
        self._api_keys = api_keys
        self._metrics = edge.metrics
        self._open_waits = edge.engine.open_waits
        # Encoded once, because anybody may request it as often as they like.
        self._document = JSONResponse(document(workflows.values(), public_path=self._public_path)).body

    def routes(self) -> list[Route]:
        """Return the routes of this surface."""
        return [
            route("/", GET=self.root),
            route("/healthz", GET=self.alive),
            route("/readyz", GET=self.ready),
            route("/metrics", GET=self.metrics),
            route("/openapi.json", GET=self.openapi),
        ]

    async def root(self, _: Request) -> Response:
        """Lead to the console."""
        return redirect(f"{self._public_path}/console")

    async def alive(self, _: Request) -> Response:
        """Say that this process runs, whether or not its engine is reachable."""
        return JSONResponse({"status": "alive"})

    async def ready(self, _: Request) -> Response:
        """Say that the engine responds.

        Raises:
            EngineUnavailable: it does not respond.
        """
        await self._readiness.wait()

        return JSONResponse({"status": "ready"})

    async def metrics(self, request: Request) -> Response:
        """Return the metrics in the Prometheus text format."""
        self._api_keys.authorise(request, "read")
        text, media_type = self._metrics.render(await self._open_waits())

        return Response(text, media_type=media_type)

    async def openapi(self, _: Request) -> Response:
        """Return the OpenAPI document."""
        return Response(self._document, media_type="application/json")
