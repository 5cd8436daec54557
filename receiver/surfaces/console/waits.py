"""The page of a wait in the console: what is asked, of whom, and how it ended; the forms to answer and to remind."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from orchestrator.approvals.wording import label
from orchestrator.by_hand.answering import HandAnswer
from orchestrator.by_hand.wait_view import view_wait
from orchestrator.errors import UnknownPromise
from orchestrator.runs.root_ids import root_id_of
from orchestrator.text.strict_json import loads_strict
from orchestrator.text.times import utc
from receiver.http.client_addresses import client_address
from receiver.http.problems import Problem
from receiver.pages.approval import redirect
from receiver.pages.console import console_page
from receiver.pages.console_form import Field, Form, reason_field
from receiver.pages.story import listed, wait_story
from receiver.surfaces.console.runs import run_of
from receiver.surfaces.run_page import decided, ended_by

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from orchestrator.by_hand.wait_view import WaitView
    from orchestrator.runs.root_ids import RootName
    from orchestrator.runs.step_view import StepView
    from receiver.surfaces.by_hand import ByHand
    from receiver.surfaces.console.reception import Reception, Visit
    from receiver.surfaces.edge import Edge

_STEP: Final = re.compile(r"[1-9][0-9]{0,17}(?:\.(?:0\.)?[1-9][0-9]{0,17}){0,200}", re.ASCII)
_DONE: Final = {
    "answered": "Your answer is recorded.",
    "reminded": "The people are being reminded.",
}
_LONGEST_BODY: Final = 20_000


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A wait, whose it is, and where its page is."""

    run: RootName
    wait: WaitView
    path: str

    @property
    def step(self) -> StepView:
        """The step that is the wait."""
        return self.wait.step


class Waits:
    """Shows waits, and does what operators ask for about them."""

    def __init__(self, edge: Edge, by_hand: ByHand, reception: Reception) -> None:
        self._edge = edge
        self._by_hand = by_hand
        self._reception = reception

    async def show(self, request: Request, visit: Visit) -> Response:
        """Show a wait."""
        shown = await self._shown(request, visit)
        step, moments = shown.step, visit.frame.moments
        now = datetime.fromtimestamp(self._edge.clock(), tz=UTC)
        question = None if step.asked is None else step.asked.question
        answer = decided(step)
        story = wait_story(step, ended=ended_by(step), reminded=shown.wait.reminded)

        return console_page(
            "console_wait.html",
            visit.frame,
            done=_DONE.get(request.query_params.get("done", "")),
            run={"name": str(shown.run), "href": visit.frame.run(shown.run)},
            name=step.name,
            step=step,
            story=[part if isinstance(part, str) else moments.in_words(part, now) for part in story],
            question=question,
            links=[] if question is None else [(name, url, urlsplit(url).hostname) for name, url in question.links],
            people=shown.wait.people,
            audience="people" if step.asked is not None else "a machine",
            opened=moments.at(utc(step.started_at)),
            until=None if step.until is None else moments.at(utc(step.until)),
            ended=None if step.ended_at is None else moments.at(utc(step.ended_at)),
            digest=None if step.asked is None else step.asked.digest,
            answer=answer,
            answered_at=None if answer is None else moments.at(datetime.fromisoformat(answer.at)),
            actions=self._actions(shown, visit),
        )

    async def answer(self, request: Request, visit: Visit) -> Response:
        """Show the form with which an operator answers a wait, or record what it says."""
        shown = await self._shown(request, visit)
        form = _answer_form(shown)

        if request.method != "POST":
            return form.response(visit.frame) if shown.wait.is_open else redirect(shown.path)

        given = await self._reception.fields(request, ("outcome", "body", "reason"))

        try:
            answer = HandAnswer(
                outcome=given.get("outcome", ""),
                reason=_lines(given.get("reason", "")).strip(),
                by=visit.session.name,
                body=_body(shown, _lines(given.get("body", ""))),
                client=client_address(request.scope),
                step=shown.step.id,
            )
            await self._by_hand.answer(request.scope, root_id_of(*shown.run), shown.step.name, answer)
        except Problem as problem:
            told = problem.detail or f"{problem.title}."

            return form.response(
                visit.frame, status=problem.status, headers=problem.headers, fault=f"Not recorded. {told}", given=given
            )

        return redirect(f"{shown.path}?done=answered")

    async def remind(self, request: Request, visit: Visit) -> Response:
        """Show the form that reminds the people of a question, or remind them."""
        shown = await self._shown(request, visit)

        if shown.step.asked is None:
            raise Problem("not-found", "This wait asks nobody by mail.")

        form = _remind_form(shown)

        if request.method != "POST":
            return form.response(visit.frame) if shown.wait.is_open else redirect(shown.path)

        given = await self._reception.fields(request, ("reason",))

        try:
            await self._by_hand.remind(
                request.scope,
                root_id_of(*shown.run),
                shown.step.name,
                by=visit.session.name,
                reason=_lines(given.get("reason", "")).strip(),
                step=shown.step.id,
            )
        except Problem as problem:
            fault = f"Nobody was reminded. {problem.detail or problem.title}"

            return form.response(visit.frame, status=problem.status, headers=problem.headers, fault=fault, given=given)

        return redirect(f"{shown.path}?done=reminded")

    def _actions(self, shown: Shown, visit: Visit) -> Sequence[tuple[str, str]]:
        """Return what the visitor may do about this wait: texts and addresses of forms."""
        if not shown.wait.is_open or not visit.may("operate"):
            return ()

        remind = () if shown.step.asked is None else (("Remind…", f"{shown.path}/remind"),)

        return (*remind, ("Answer by hand…", f"{shown.path}/answer"))

    async def _shown(self, request: Request, visit: Visit) -> Shown:
        run = run_of(request)
        path = request.path_params["step"]

        if _STEP.fullmatch(path) is None:
            raise Problem("not-found")

        try:
            wait = await view_wait(self._edge.engine.promises, f"{root_id_of(*run)}:{path}")
        except UnknownPromise:
            raise Problem("not-found", "This run has no such wait.") from None

        return Shown(run=run, wait=wait, path=visit.frame.run(run, "steps", path))


def _remind_form(shown: Shown) -> Form:
    people = "" if shown.step.asked is None else listed(shown.step.asked.inquiry.people)

    return Form(
        title=f"Remind {people}?",
        subject=f"{shown.run}, {shown.step.name}",
        back=shown.path,
        says=(
            "Everybody who is asked gets the question by mail again, with the link that they have.",
            "Nothing else changes. It can be done once a minute.",
        ),
        fields=(reason_field(required=False),),
        button="Send the reminder",
    )


def _answer_form(shown: Shown) -> Form:
    step = shown.step
    people = None if step.asked is None else listed(step.asked.inquiry.people)
    whom = f"{people}" if people else "the machine that was to answer"
    body = (
        Field(
            name="body", label="Comment", kind="lines", hint="Without it, your reason is the comment.", required=False
        )
        if people
        else Field(
            name="body",
            label="Result",
            kind="lines",
            hint='In JSON. A failure is {"message": "...", "details": ...}, or empty: the reason is its message then.',
            required=False,
            longest=_LONGEST_BODY,
        )
    )

    return Form(
        title=f"Answer “{step.name}” by hand",
        subject=f"{shown.run}, {step.name}",
        back=shown.path,
        says=(
            f"You answer instead of {whom}. The run goes on with your answer at once, and this cannot be undone.",
            "It is recorded as an operator's, with the name of your key, your reason and your network address.",
        ),
        fields=(
            Field(
                name="outcome",
                label="Answer",
                kind="choice",
                options=tuple((choice, label(choice)) for choice in shown.wait.choices),
            ),
            body,
            reason_field(),
        ),
        button="Record this answer",
    )


def _body(shown: Shown, text: str) -> str | None:
    """Return the body of an answer as JSON text, None for one without a body.

    Raises:
        Problem: `invalid-input`, if it has to be JSON and is not.
    """
    if not text.strip():
        return None

    if shown.step.asked is not None:
        return json.dumps(text)

    try:
        loads_strict(text.encode())
    except ValueError:
        raise Problem("invalid-input", "The result must be JSON. A text is written in quotes.") from None

    return text


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n")
