"""The page of a run in the console."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from starlette.responses import HTMLResponse

from orchestrator.runs.changed_code import held_up
from orchestrator.runs.root_ids import ID_RULE, RootName, is_workflow_id, is_workflow_name, root_id_of
from orchestrator.runs.roots import view_root
from orchestrator.runs.step_view import view_steps
from receiver.http.problems import Problem
from receiver.pages.console import REFRESH
from receiver.pages.templating import page_headers
from receiver.pages.timeline import Link, render
from receiver.surfaces.run_page import run_view

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from receiver.surfaces.console.reception import Visit
    from receiver.surfaces.edge import Edge


class Runs:
    """Shows runs."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def show(self, request: Request, visit: Visit) -> Response:
        """Show a run: its story, its steps, its decisions, its input and result."""
        name = run_of(request)
        engine = self._edge.engine
        view = view_root(await engine.promises.get(root_id_of(*name)))
        steps, more = await view_steps(engine.promises, view.root_id)
        held = await held_up(engine, view.root_id, steps) if view.state == "running" else None
        page = run_view(view, steps, more=more, held=held)
        moving = view.state == "running"
        paused = request.query_params.get("updates") == "off"
        nonce = secrets.token_urlsafe(16)
        html = render(
            page,
            nonce,
            organisation=visit.frame.organisation,
            frame=visit.frame,
            refresh=_updates(paused=paused) if moving else None,
        )
        refresh = {"Refresh": str(REFRESH)} if moving and not paused else {}

        return HTMLResponse(html, headers={**page_headers(nonce), **refresh})


def run_of(request: Request) -> RootName:
    """Return which run the path of this request names.

    Raises:
        Problem: `unknown-workflow` or `invalid-id`, if no run can have this name.
    """
    parameters: dict[str, Any] = request.path_params
    name = RootName(parameters["name"], parameters["id"])

    if not is_workflow_name(name.workflow):
        raise Problem("unknown-workflow")

    if not is_workflow_id(name.id):
        raise Problem("invalid-id", ID_RULE)

    return name


def _updates(*, paused: bool) -> Link:
    if paused:
        return Link(text="Updates are paused: resume", href="?")

    return Link(text=f"This page updates every {REFRESH} seconds: pause", href="?updates=off")
