"""The workflow API: start a workflow once per id, read its state, wait for it, cancel it.

Nothing about a workflow is kept here: every response is read from the engine, so every replica gives the same one,
before and after a restart.
"""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from starlette.responses import HTMLResponse, JSONResponse

from orchestrator.errors import UnknownPromise
from orchestrator.runs.changed_code import held_up
from orchestrator.runs.root_ids import ID_RULE, RootName, is_workflow_id, is_workflow_name, root_id_of
from orchestrator.runs.roots import start_root, view_root
from orchestrator.runs.step_view import view_steps
from orchestrator.text.strict_json import json_equal, loads_strict
from orchestrator.tracing import one_traceparent
from receiver.http.bodies import json_body
from receiver.http.idempotency_keys import idempotency_key
from receiver.http.preferences import prefers_page, wait_seconds
from receiver.http.problems import Problem
from receiver.http.routing import route
from receiver.http.telemetry import log_action, log_if_unknown
from receiver.pages.approval import redirect
from receiver.pages.templating import page_headers
from receiver.pages.timeline import render
from receiver.surfaces.run_page import run_view
from receiver.surfaces.workflow_document import step_document, try_document, workflow_document
from receiver.surfaces.workflow_ids import derived_id, new_id
from receiver.surfaces.workflow_input import describe_faults, faults_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from orchestrator.durable.try_records import TryRecord
    from orchestrator.runs.definition import Workflow
    from orchestrator.runs.roots import RootView
    from orchestrator.runs.step_view import StepView
    from receiver.http.auth import ApiKeys
    from receiver.surfaces.cancels import Cancels
    from receiver.surfaces.edge import Edge

logger = logging.getLogger(__name__)


class Workflows:
    """The surface `/workflows`."""

    def __init__(  # noqa: PLR0913 - what the application has
        self,
        edge: Edge,
        workflows: Mapping[str, Workflow[Any]],
        *,
        organisation: str,
        public_url: str,
        api_keys: ApiKeys,
        cancels: Cancels,
    ) -> None:
        self._edge = edge
        self._cancels = cancels
        self._workflows = workflows
        self._organisation = organisation
        self._public_path = urlsplit(public_url).path
        self._api_keys = api_keys

    def routes(self) -> list[Route]:
        """Return the routes of this surface."""
        return [
            route("/workflows/{name:word}", POST=self.start_unnamed),
            # `:path` matches every text, slashes included, so that an invalid id gets `invalid-id` and not a 404.
            route("/workflows/{name}/{id:path}", GET=self.show, PUT=self.start, DELETE=self.cancel),
        ]

    async def start(self, request: Request) -> Response:
        """Start the workflow unless its id is taken; 201 when this request started it."""
        by = self._api_keys.authorise(request, "start")

        return await self._start(request, self._workflow(request), _id_of(request), by=by)

    async def start_unnamed(self, request: Request) -> Response:
        """Start the workflow under an id of ours, once per `Idempotency-Key` if there is one."""
        by = self._api_keys.authorise(request, "start")
        workflow = self._workflow(request)
        key = idempotency_key(request.headers.getlist("idempotency-key"))
        workflow_id = new_id(clock=self._edge.clock) if key is None else derived_id(workflow.name, key)

        return await self._start(request, workflow, workflow_id, by=by)

    async def _start(self, request: Request, workflow: Workflow[Any], workflow_id: str, *, by: str) -> Response:
        body = await json_body(request, limit=self._edge.max_body)
        faults = faults_of(workflow, body.value)

        if faults:
            raise Problem("invalid-input", describe_faults(faults), errors=faults)

        with log_if_unknown(logger, request.scope, root_id_of(workflow.name, workflow_id), "started", by=by):
            view = await start_root(
                self._edge.engine,
                name=workflow.name,
                workflow_id=workflow_id,
                text=body.text,
                group=workflow.group,
                timeout=workflow.timeout,
                version=workflow.version,
                traceparent=one_traceparent(request.headers.getlist("traceparent")),
            )

        created = view.created

        if not created and view.request is not None and not json_equal(loads_strict(view.request.encode()), body.value):
            raise Problem("id-reused", "The workflow keeps the input that it was started with.")

        if created:
            log_action(logger, request.scope, view.root_id, "started", by=by)

        view = await self._waited(request, view)

        return JSONResponse(
            {**workflow_document(view), "created": created},
            status_code=201 if created else 200,
            headers={"Location": f"{self._public_path}/workflows/{workflow.name}/{workflow_id}"},
        )

    async def show(self, request: Request) -> Response:
        """Return the workflow's state, as JSON or as a page. A browser without a key is led to the console."""
        if (elsewhere := self._in_the_console(request)) is not None:
            return elsewhere

        self._api_keys.authorise(request, "read")
        root_id = self.root_of(request)

        try:
            view = view_root(await self._edge.engine.promises.get(root_id))
        except UnknownPromise:
            raise self.unknown(request) from None

        view = await self._waited(request, view)

        if prefers_page(request.headers.getlist("accept")):
            return await self._page(view)

        document = workflow_document(view)

        if request.query_params.get("steps") == "1":
            steps, more = await self._steps(root_id, request.query_params.get("after"))
            document["steps"] = [step_document(step) for step in steps]

            if (held := await self._held_up(view, steps)) is not None:
                document["held_up"] = try_document(held)

            if more:
                document |= {"truncated": True, "next": steps[-1].id}

        return JSONResponse(document, headers={"Vary": "Accept"})

    async def cancel(self, request: Request) -> Response:
        """Request the workflow's cancellation, which has no effect on a workflow that is over."""
        by = self._api_keys.authorise(request, "operate")
        root_id = self.root_of(request)

        try:
            view = await self._cancels.cancel(request.scope, root_id, by=by)
        except UnknownPromise:
            raise self.unknown(request) from None

        return JSONResponse(workflow_document(view), status_code=202)

    def root_of(self, request: Request) -> str:
        """Return the root's id of a workflow that may be loaded no longer: it can still be read and cancelled.

        Raises:
            Problem: `invalid-id`, or `unknown-workflow` for a name that no workflow can have.
        """
        if not is_workflow_name(request.path_params["name"]):
            self._workflow(request)

        return root_id_of(request.path_params["name"], _id_of(request))

    def unknown(self, request: Request) -> Problem:
        """Return the refusal of an id that no workflow has.

        Raises:
            Problem: `unknown-workflow`, if there is no workflow with the name either.
        """
        self._workflow(request)

        return Problem("unknown-id")

    def _workflow(self, request: Request) -> Workflow[Any]:
        try:
            return self._workflows[request.path_params["name"]]
        except KeyError:
            names = sorted(self._workflows)
            detail = f"The workflows here are: {', '.join(names)}." if names else "No workflow is loaded here."

            raise Problem("unknown-workflow", detail, workflows=names) from None

    async def _waited(self, request: Request, view: RootView) -> RootView:
        seconds = wait_seconds(request.headers.getlist("prefer"))

        if view.state != "running" or not seconds:
            return view

        return view_root(await self._edge.engine.wait_settled(view.root_id, seconds=seconds))

    async def _steps(self, root_id: str, after: str | None = None) -> tuple[Sequence[StepView], bool]:
        """Return one page of the steps, which starts after the step `after`, and whether there are more."""
        try:
            return await view_steps(self._edge.engine.promises, root_id, after=after)
        except ValueError:
            raise Problem("invalid-id", "The parameter `after` must be the id of a step of this workflow.") from None

    async def _held_up(self, view: RootView, steps: Sequence[StepView]) -> TryRecord | None:
        return await held_up(self._edge.engine, view.root_id, steps) if view.state == "running" else None

    async def _page(self, view: RootView) -> Response:
        nonce = secrets.token_urlsafe(16)
        steps, more = await self._steps(view.root_id)
        held = await self._held_up(view, steps)
        shown = run_view(view, steps, more=more, held=held, workspace=self._edge.workspace)
        html = render(shown, nonce, organisation=self._organisation)

        return HTMLResponse(html, headers={**page_headers(nonce), "Vary": "Accept"})

    def _in_the_console(self, request: Request) -> Response | None:
        """Return the way to a run's page in the console, for a browser, which has no API key to send; None for others.

        Whether there is such a run is not said to somebody who has not signed in.
        """
        name = RootName(request.path_params["name"], request.path_params["id"])
        asks = prefers_page(request.headers.getlist("accept")) and not request.headers.getlist("authorization")

        if not asks or not is_workflow_name(name.workflow) or not is_workflow_id(name.id):
            return None

        response = redirect(f"{self._public_path}/console/workflows/{quote(name.workflow)}/{quote(name.id)}")
        response.headers["Vary"] = "Accept"

        return response


def _id_of(request: Request) -> str:
    workflow_id: str = request.path_params["id"]

    if not is_workflow_id(workflow_id):
        raise Problem("invalid-id", ID_RULE)

    return workflow_id
