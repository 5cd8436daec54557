"""Approvals: a person opens the link from a mail, reads the question as it was asked, and presses a button.

Opening the page never decides anything, because mail scanners open links too. A post decides only what the page shows:
the question is read from the record of the wait, and it must have the digest that the token names. Otherwise nothing is
shown and nothing is recorded.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from orchestrator.approvals.decision import Decision
from orchestrator.approvals.others import standing
from orchestrator.callbacks.claims import PATHS, TokenExpired, TokenInvalid
from orchestrator.callbacks.deliver import WaitReplaced, deliver, wait_of
from orchestrator.callbacks.outcomes import CLOSED, Outcome
from orchestrator.callbacks.question import Asked
from orchestrator.callbacks.wait_traces import trace_wait
from orchestrator.errors import EngineUnavailable, UnknownPromise
from orchestrator.text.times import rfc3339
from receiver.http.client_addresses import client_address
from receiver.http.forms import is_same_origin, read_form
from receiver.http.problems import HEADERS
from receiver.http.routing import route
from receiver.pages.approval import ApprovalView, Closed, Recorded, redirect
from receiver.pages.notice import Notice
from receiver.surfaces.approval_form import FormCheck, FormRefused
from receiver.surfaces.glued_links import without_glue
from receiver.surfaces.presented_token import verify_token

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from orchestrator.approvals.codes import ApprovalCodes
    from orchestrator.callbacks.claims import Claims, Presented
    from orchestrator.callbacks.deliver import Wait
    from orchestrator.callbacks.outcomes import Settled
    from orchestrator.callbacks.settlement import Settlement
    from receiver.pages.approval import Fault
    from receiver.surfaces.edge import Edge

logger = logging.getLogger(__name__)

_PATH: Final = PATHS["approver"]
_FIELDS: Final = ("decision", "comment", "code")
_OVER: Final = "This question is closed"
_NO_MORE: Final = "Nothing more can be recorded here."
_TOO_LATE: Final = f"The time to answer is over. {_NO_MORE}"
_EARLIER: Final = (
    "This link belongs to an earlier question, which is closed. Nothing more can be recorded here. "
    "If you were asked again, open the link in the latest mail."
)


@dataclass(frozen=True, kw_only=True)
class _Page:
    """The wait and the question of a genuine link. `path` is the path of the page."""

    wait: Wait
    asked: Asked
    path: str


class Approvals:
    """The surface `/approvals`."""

    def __init__(self, edge: Edge, codes: ApprovalCodes, *, organisation: str, public_url: str) -> None:
        self._edge = edge
        self._check = FormCheck(edge, codes)
        self._organisation = organisation
        self._public_url = public_url

    def routes(self) -> list[Route]:
        """Return the routes of this surface."""
        return [
            route(f"{_PATH}/{{token}}", GET=self.show, POST=self.decide),
            route(f"{_PATH}/{{token}}/{{glued:path}}", GET=self.show_glued),
        ]

    async def show(self, request: Request) -> Response:
        """Show the question, or what was decided. Never settles anything."""
        if (elsewhere := self._without_glue(request, request.path_params["token"])) is not None:
            return elsewhere

        page = await self._page(self._presented(request), self._path(request.path_params["token"]))

        if (settled := page.wait.settled) is not None:
            return await self._recorded(page, settled)

        if page.wait.presented.expired:
            return await self._ended(page, None)

        return await self._form(page, chosen=request.query_params.get("choose"))

    async def show_glued(self, request: Request) -> Response:
        """Lead to the page, if what follows the link was only glued to it."""
        token, glued = request.path_params["token"], request.path_params["glued"]

        if (elsewhere := self._without_glue(request, f"{token}/{glued}")) is not None:
            return elsewhere

        raise Notice(404)

    async def decide(self, request: Request) -> Response:
        """Record the decision that the form names, unless one is recorded already."""
        if not is_same_origin(request, self._public_url):
            raise Notice(403)

        presented, path = self._presented(request), self._path(request.path_params["token"])

        try:
            page = await self._page(presented, path)
        except EngineUnavailable as error:
            raise self._unrecorded(presented.claims, path, await self._fields(request), error) from None

        fields = await self._fields(request)
        decision = fields.get("decision", "")

        if decision not in page.wait.claims.outcomes:
            raise Notice(400, "That is not one of the decisions. Nothing was recorded.", back=page.path)

        try:
            return await self._record(page, decision, fields, client=client_address(request.scope))
        except EngineUnavailable as error:
            raise self._unrecorded(page.wait.claims, path, fields, error) from None

    def _unrecorded(self, claims: Claims, path: str, fields: Mapping[str, str], error: EngineUnavailable) -> Notice:
        """Return the page that sends the same form again: what the person wrote must not get lost."""
        self._edge.metrics.engine_error()
        logger.warning("%s: a decision was not recorded: %s", claims.promise_id, error)

        return Notice(503, back=path, again=fields, headers=HEADERS[503])

    async def _record(self, page: _Page, decision: str, fields: Mapping[str, str], *, client: str | None) -> Response:
        claims = page.wait.claims
        comment = fields.get("comment", "")
        kept = Decision(
            comment=comment.replace("\r\n", "\n"),
            digest=page.asked.digest,
            client=client,
            at=rfc3339(int(self._edge.clock() * 1000)),
        )
        outcome = Outcome(
            kind=decision, callback=claims.callback, by="approver", body=kept.stored(), subject=claims.subject
        )
        check = partial(self._check, page.asked, page.wait, decision, fields)

        try:
            settlement = await deliver(
                self._edge.engine.promises, page.wait, outcome, f"{claims.ikey}:{decision}", check=check
            )
        except TokenExpired:
            return await self._ended(page, None)
        except FormRefused as refused:
            self._edge.metrics.approval("refused")

            return await self._form(page, chosen=decision, fields=fields, fault=refused.fault, status=refused.status)

        await trace_wait(self._edge.engine, claims.promise_id, claims.opened_at, settlement)

        return await self._settled(page, decision, settlement)

    async def _settled(self, page: _Page, decision: str, settlement: Settlement) -> Response:
        """Redirect to the page if this decision is recorded, whoever made it; otherwise show the recorded one."""
        settled = settlement.settled

        if settled.outcome.kind == decision:
            self._edge.metrics.approval("applied" if settlement.verdict == "applied" else "duplicate")

            return redirect(page.path)

        self._edge.metrics.approval("closed" if settled.outcome.kind in CLOSED else "other")

        return await self._recorded(page, settled, refused=decision)

    def _without_glue(self, request: Request, text: str) -> Response | None:
        """Return the redirect to the page, if something is glued to a genuine token."""
        token = without_glue(text)

        if token is None:
            return None

        try:
            claims = self._edge.signer.verify_even_expired(token, audience="approver").claims
        except TokenInvalid:
            return None

        chosen = request.query_params.get("choose")

        return redirect(f"{self._path(token)}?choose={chosen}" if chosen in claims.outcomes else self._path(token))

    def _path(self, token: str) -> str:
        return f"{urlsplit(self._public_url).path}{_PATH}/{token}"

    async def _fields(self, request: Request) -> Mapping[str, str]:
        return await read_form(request, _FIELDS, limit=self._edge.max_body)

    def _presented(self, request: Request) -> Presented:
        return verify_token(
            self._edge,
            request.scope,
            request.path_params["token"],
            audience="approver",
            refusal="not-found",
            guessed=partial(self._edge.metrics.approval, "refused"),
        )

    async def _page(self, presented: Presented, path: str) -> _Page:
        try:
            wait = await wait_of(self._edge.engine.promises, presented)
        except TokenExpired:
            raise Notice(410) from None
        except UnknownPromise:
            raise Notice(404) from None
        except WaitReplaced:
            raise Notice(410, _EARLIER) from None

        asked = Asked.read(wait.record)

        if asked is None or not asked.matches(presented.claims):
            logger.warning("%s: the stored question is not the one that the link was made for", wait.claims.promise_id)
            self._edge.metrics.approval("refused")
            raise Notice(404)

        return _Page(wait=wait, asked=asked, path=path)

    async def _form(
        self,
        page: _Page,
        *,
        chosen: str | None,
        fields: Mapping[str, str] = MappingProxyType({}),
        fault: Fault | None = None,
        status: int = 200,
    ) -> Response:
        comment, code = fields.get("comment", ""), fields.get("code", "")
        view = replace(await self._view(page), chosen=chosen, comment=comment, code=code, fault=fault)

        return view.response(status)

    async def _recorded(self, page: _Page, settled: Settled, *, refused: str | None = None) -> Response:
        """Return the page of a wait that is over; 409 if somebody tried to decide otherwise."""
        outcome = settled.outcome

        if outcome.kind in CLOSED:
            return await self._ended(page, settled)

        kept = Decision.read(outcome)
        recorded = Recorded(
            decision=outcome.kind,
            by=outcome.subject or "",
            at=settled.settled_at,
            comment="" if kept is None else kept.comment,
            reason=outcome.reason,
        )

        view = replace(await self._view(page), recorded=recorded, refused=refused)

        return view.response(200 if refused is None else 409)

    async def _ended(self, page: _Page, settled: Settled | None) -> Response:
        """Return the page of a question that ended without a decision; without `settled`, its link has expired."""
        view = replace(await self._view(page), closed=_closed(settled))

        return view.response(410)

    async def _view(self, page: _Page) -> ApprovalView:
        return ApprovalView(
            standing=await standing(self._edge.engine.promises, page.asked),
            organisation=self._organisation,
            asked=page.asked,
            person=page.wait.claims.subject,
            path=page.path,
            now=int(self._edge.clock() * 1000),
        )


def _closed(settled: Settled | None) -> Closed:
    if settled is None:
        return Closed(title=_OVER, why=_TOO_LATE)

    outcome, at = settled.outcome, settled.settled_at

    match outcome.kind, outcome.by:
        case "cancelled", "workflow":
            return Closed(title=_OVER, why=f"{outcome.message} {_NO_MORE}", at=at)
        case "cancelled", _:
            return Closed(title="This question was withdrawn", why=f"An answer is no longer needed. {_NO_MORE}", at=at)
        case _:
            return Closed(title=_OVER, why=_TOO_LATE, at=at)
