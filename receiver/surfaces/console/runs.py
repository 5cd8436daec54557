"""The page of a run in the console, and the forms that cancel it or start it again."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import HTMLResponse

from orchestrator.approvals.reminded import count_reminders
from orchestrator.runs.cancel_note import read_cancel_note
from orchestrator.runs.changed_code import held_up
from orchestrator.runs.root_ids import ID_RULE, RootName, is_workflow_id, is_workflow_name, name_of_root, root_id_of
from orchestrator.runs.roots import view_root
from orchestrator.runs.step_view import view_steps
from orchestrator.text.display import one_line
from receiver.http.problems import Problem
from receiver.pages.approval import redirect
from receiver.pages.console import REFRESH
from receiver.pages.console_form import MAX_REASON, Field, Form, reason_field
from receiver.pages.templating import page_headers
from receiver.pages.timeline import Link, render
from receiver.surfaces.run_page import run_view

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from orchestrator.runs.cancel_note import CancelNote
    from orchestrator.runs.definition import Workflow
    from orchestrator.runs.roots import RootView
    from orchestrator.runs.step_view import StepView
    from receiver.pages.timeline import Note
    from receiver.surfaces.by_hand import ByHand
    from receiver.surfaces.cancels import Cancels
    from receiver.surfaces.console.reception import Reception, Visit
    from receiver.surfaces.edge import Edge

_DONE: Final = {
    "cancelled": "The run is being cancelled. It undoes what it has done, and ends.",
}

#: For how many open waits a run's page has buttons and counts reminders; the others have their own pages.
_MOST_BUTTONS: Final = 3


class Runs:
    """Shows runs, and does what people ask for about them."""

    def __init__(
        self,
        edge: Edge,
        workflows: Mapping[str, Workflow[Any]],
        reception: Reception,
        *,
        cancels: Cancels,
        by_hand: ByHand,
    ) -> None:
        self._edge = edge
        self._workflows = workflows
        self._cancels = cancels
        self._by_hand = by_hand
        self._reception = reception

    async def show(self, request: Request, visit: Visit) -> Response:
        """Show a run: its story, its steps, its decisions, its input and result."""
        name = run_of(request)
        engine = self._edge.engine
        root = await engine.promises.get(root_id_of(*name))
        view = view_root(root)
        steps, more = await self._steps(request, view.root_id)
        held = await held_up(engine, view.root_id, steps) if view.state == "running" else None
        page = run_view(
            view,
            steps,
            more=more,
            held=held,
            reminded=await self._reminded(steps),
            workspace=self._edge.workspace,
            address=lambda step: _page_of(visit, name, step),
            actions=tuple(_actions(visit, name, view, steps)),
            notes=_notes(await read_cancel_note(engine.promises, root)),
            begins="after" not in request.query_params,
            done=_DONE.get(request.query_params.get("done", "")),
        )
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
        # What the reader has just done is said once.
        again = f"{REFRESH}; url={visit.frame.run(name)}" if page.done else str(REFRESH)
        refresh = {"Refresh": again} if moving and not paused else {}

        return HTMLResponse(html, headers={**page_headers(nonce), **refresh})

    async def cancel(self, request: Request, visit: Visit) -> Response:
        """Show the form that cancels a run, or cancel it."""
        name = run_of(request)
        back = visit.frame.run(name)
        form = Form(
            title="Cancel this run?",
            subject=str(name),
            back=back,
            says=(
                "The links that it has handed out are withdrawn, and what it waits for ends, sub-workflows included.",
                "Its code then undoes what it has done, and the run ends as cancelled. This cannot be undone.",
            ),
            fields=(reason_field(),),
            button="Cancel the run",
            danger=True,
        )
        view = view_root(await self._edge.engine.promises.get(root_id_of(*name)))

        if view.state != "running" and request.method != "POST":
            return redirect(back)

        if request.method != "POST":
            return form.response(visit.frame)

        given = await self._reception.fields(request, ("reason",))
        reason = given.get("reason", "").replace("\r\n", "\n").strip()

        try:
            _check_reason(reason)
        except Problem as problem:
            return form.response(
                visit.frame, status=problem.status, fault=f"Nothing was done. {problem.detail}", given=given
            )

        await self._cancels.cancel(request.scope, view.root_id, by=visit.session.name, reason=reason)

        return redirect(f"{back}?done=cancelled" if view.state == "running" else back)

    async def start_again(self, request: Request, visit: Visit) -> Response:
        """Show the form that starts a run again, or start it. A form that is sent twice starts it once."""
        name = run_of(request)
        back = visit.frame.run(name)
        workflow = self._workflows.get(name.workflow)
        form = Form(
            title="Start this run again?",
            subject=str(name),
            back=back,
            says=(
                "The workflow is started with the same input, under a new id, and does everything again.",
                "This run stays as it is. The new one says that it was started again from this one, and by whom.",
            ),
            fields=(Field(name="once", label="", kind="hidden", value=secrets.token_hex(16)), reason_field()),
            button="Start it again",
        )
        await self._edge.engine.promises.get(root_id_of(*name))

        if workflow is None:
            raise Problem("unknown-workflow", "The code of this workflow is not loaded here any more.")

        if request.method != "POST":
            return form.response(visit.frame)

        given = await self._reception.fields(request, ("reason", "once"))
        reason = given.get("reason", "").replace("\r\n", "\n").strip()

        try:
            _check_reason(reason)
            view = await self._by_hand.start_again(
                request.scope,
                workflow,
                root_id_of(*name),
                by=visit.session.name,
                reason=reason,
                key=given.get("once") or None,
            )
        except Problem as problem:
            return form.response(
                visit.frame, status=problem.status, fault=f"Nothing was done. {problem.detail}", given=given
            )

        return redirect(visit.frame.run(name_of_root(view.root_id)))

    async def _steps(self, request: Request, root_id: str) -> tuple[Sequence[StepView], bool]:
        after = request.query_params.get("after")

        try:
            return await view_steps(self._edge.engine.promises, root_id, after=f"{root_id}:{after}" if after else None)
        except ValueError:
            raise Problem("not-found", "This run has no such step.") from None

    async def _reminded(self, steps: Sequence[StepView]) -> dict[str, int]:
        """Return how often people were reminded, by the ids of the first open questions."""
        asked = [step for step in steps if step.state == "running" and step.asked is not None]
        promises = self._edge.engine.promises

        return {step.id: await count_reminders(promises, await promises.get(step.id)) for step in asked[:_MOST_BUTTONS]}


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


def _check_reason(reason: str) -> None:
    if not 1 <= len(reason) <= MAX_REASON:
        raise Problem("invalid-input", f"A reason is needed, of 1 to {MAX_REASON} characters.")


def _page_of(visit: Visit, name: RootName, step: StepView) -> str | None:
    """Return where the page of a step is. Only waits have one."""
    return visit.frame.run(name, "steps", step.id.partition(":")[2]) if step.waits == "callback" else None


def _actions(visit: Visit, name: RootName, view: RootView, steps: Sequence[StepView]) -> Iterator[Link]:
    """Yield what the visitor may do, each as a link to a form that says what it will do."""
    if view.state == "running" and visit.may("operate"):
        waits = [step for step in steps if step.state == "running" and step.waits == "callback"]

        for step in waits[:_MOST_BUTTONS]:
            path = _page_of(visit, name, step)
            shown = one_line(step.name, 64)

            if step.asked is not None:
                yield Link(text=f"Remind “{shown}”…", href=f"{path}/remind")

            yield Link(text=f"Answer “{shown}” by hand…", href=f"{path}/answer")

        yield Link(text="Cancel…", href=visit.frame.run(name, "cancel"), danger=True)

    if view.state != "running" and visit.may("start"):
        yield Link(text="Start again…", href=visit.frame.run(name, "again"))


def _notes(cancelled: CancelNote | None) -> tuple[Note, ...]:
    """Return what people did to a run."""
    if cancelled is None:
        return ()

    return ((f"Cancelled by {cancelled.by}", cancelled.at, cancelled.reason),)


def _updates(*, paused: bool) -> Link:
    if paused:
        return Link(text="Updates are paused: resume", href="?")

    return Link(text=f"This page updates every {REFRESH} seconds: pause", href="?updates=off")
