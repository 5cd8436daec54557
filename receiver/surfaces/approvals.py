"""Approvals: a person opens the link from a mail, reads the question as it was asked, and presses a button.

Opening decides nothing, whoever opens it and however often: mail scanners do. A post decides only what the page shows:
the question is read from the record of the wait and must have the digest that the token names, or nothing is shown and
nothing is recorded.
"""

from __future__ import annotations

import hmac
import json
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from orchestrator.callbacks.claims import TokenExpired, TokenInvalid
from orchestrator.callbacks.outcomes import CLOSED, Outcome, Settled, read_settled
from orchestrator.callbacks.question import Inquiry, digest_of
from orchestrator.callbacks.settlement import resolve
from orchestrator.errors import EngineUnavailable, UnknownPromise
from receiver.http.client_addresses import client_address
from receiver.http.forms import is_same_origin, read_form
from receiver.http.routing import route
from receiver.http.telemetry import name_callback
from receiver.http.timestamps import rfc3339
from receiver.pages.approval import ApprovalView, Notice, Recorded, redirect

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from resonate.types import PromiseRecord
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from orchestrator.approvals.codes import ApprovalCodes
    from orchestrator.callbacks.claims import Claims
    from orchestrator.callbacks.tokens import TokenSigner
    from orchestrator.engine import Engine
    from receiver.http.bad_tokens import BadTokens
    from receiver.http.telemetry import Metrics

logger = logging.getLogger(__name__)

_FIELDS: Final = ("decision", "comment", "code")
_WITHDRAWN: Final = "It was withdrawn by those who asked. Nothing more can be recorded here."
_EARLIER: Final = (
    "This link is for an earlier question, which is over. Nothing more can be recorded here. "
    "If you were asked again, open the link in the latest mail."
)
_LOCKED: Final = "The code was wrong too often, so nothing more can be recorded with this link."


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A genuine link, the record of its wait, and what is asked there. `path` is where the page lives."""

    claims: Claims
    expired: bool
    record: PromiseRecord
    inquiry: Inquiry
    path: str

    @property
    def settled(self) -> Settled | None:
        return read_settled(self.record, callback=self.claims.callback)


class Approvals:
    """The surface `/approvals`."""

    def __init__(  # noqa: PLR0913 - what the surface needs, put together once
        self,
        engine: Engine,
        signer: TokenSigner,
        codes: ApprovalCodes,
        *,
        organisation: str,
        public_url: str,
        bad_tokens: BadTokens,
        metrics: Metrics,
        max_body: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._engine = engine
        self._signer = signer
        self._codes = codes
        self._organisation = organisation
        self._public_url = public_url
        self._bad_tokens = bad_tokens
        self._metrics = metrics
        self._max_body = max_body
        self._clock = clock

    def routes(self) -> list[Route]:
        """Return the routes of this surface."""
        return [route("/approvals/{token}", GET=self.show, POST=self.decide)]

    async def show(self, request: Request) -> Response:
        """Show the question, or what was decided. Settles nothing, whoever asks and however often."""
        asked = await self._asked(request)

        if (settled := asked.settled) is not None:
            return self._standing(asked, settled)

        if asked.expired:
            raise Notice(410)

        return self._form(asked, chosen=request.query_params.get("choose"))

    async def decide(self, request: Request) -> Response:
        """Record the decision that the form names, unless one stands already."""
        if not is_same_origin(request, self._public_url):
            raise Notice(403)

        asked = await self._asked(request)
        fields = await read_form(request, _FIELDS, limit=self._max_body)
        decision = fields.get("decision", "")

        if decision not in asked.claims.outcomes:
            raise Notice(400, "That is not one of the decisions you were asked for.", back=asked.path)

        try:
            return await self._record(asked, decision, fields, request)
        except EngineUnavailable as error:
            self._metrics.engine_error()
            logger.warning("%s: a decision is not recorded: %s", asked.record.id, error)
            raise Notice(503, back=asked.path, again=fields, headers={"Retry-After": "2"}) from None

    async def _record(self, asked: _Asked, decision: str, fields: Mapping[str, str], request: Request) -> Response:
        if (settled := asked.settled) is not None:
            return self._answer(asked, decision, settled)

        if asked.expired:
            raise Notice(410)

        if asked.inquiry.question.code and (fault := await self._fault(asked, fields.get("code", ""))):
            self._metrics.approval("refused")

            return self._form(asked, chosen=decision, comment=fields.get("comment", ""), fault=fault, status=403)

        claims = asked.claims
        kept = {
            "comment": fields.get("comment", "").replace("\r\n", "\n"),
            "digest": claims.digest,
            "client": client_address(request.scope),
            "at": rfc3339(int(self._clock() * 1000)),
        }
        outcome = Outcome(
            kind=decision, callback=claims.callback, by="approver", body=json.dumps(kept), subject=claims.subject
        )
        settlement = await resolve(
            self._engine.promises,
            claims.promise_id,
            ikey=f"{claims.ikey}:{decision}",
            outcome=outcome,
            opened=claims.opened_at,
        )

        return self._answer(asked, decision, settlement.settled, applied=settlement.verdict == "applied")

    def _answer(self, asked: _Asked, decision: str, settled: Settled, *, applied: bool = False) -> Response:
        """Return to the page where this decision stands, whoever made it; else show the one that does."""
        if settled.outcome.kind == decision:
            self._metrics.approval("applied" if applied else "duplicate")

            return redirect(asked.path)

        self._metrics.approval("closed" if settled.outcome.kind in CLOSED else "other")

        return self._standing(asked, settled, refused=decision)

    async def _fault(self, asked: _Asked, code: str) -> str | None:
        """Return what is wrong with the code, None where it is right. Every new guess counts, before it is compared."""
        claims = asked.claims

        if not code.strip():
            return "Please enter the code from your mail."

        left = await self._codes.count(self._engine.promises, asked.record, claims.subject, code)

        if left is None:
            return _LOCKED

        if self._codes.is_right(code, asked.record, claims.subject):
            return None

        return f"That is not the code from your mail. Tries left: {left}." if left else _LOCKED

    async def _asked(self, request: Request) -> _Asked:
        claims, expired = self._verified(request)

        try:
            record = await self._engine.promises.get(claims.promise_id)
        except UnknownPromise:
            raise Notice(410 if expired else 404) from None

        if not claims.is_for(record):
            raise Notice(410, _EARLIER)

        inquiry = Inquiry.read(record) if hmac.compare_digest(digest_of(record), claims.digest or "") else None

        if inquiry is None or claims.question != record.id:
            logger.warning("%s: the stored question is not the one that the link was made for", record.id)
            self._metrics.approval("refused")
            raise Notice(404)

        path = f"{urlsplit(self._public_url).path}/approvals/{request.path_params['token']}"

        return _Asked(claims=claims, expired=expired, record=record, inquiry=inquiry, path=path)

    def _verified(self, request: Request) -> tuple[Claims, bool]:
        """Return the claims of the link's token, and whether it has expired."""
        try:
            claims, expired = self._signer.verify(request.path_params["token"], audience="approver"), False
        except TokenExpired as error:
            claims, expired = error.claims, True
        except TokenInvalid:
            self._metrics.approval("refused")
            wait = self._bad_tokens.count(client_address(request.scope))

            if wait:
                raise Notice(429, headers={"Retry-After": str(wait)}) from None

            raise Notice(404) from None

        # A wait is below a root. A root is settled by its own worker and nobody else.
        if ":" not in claims.promise_id:
            raise Notice(404)

        name_callback(request.scope, claims.promise_id, claims.callback)

        return claims, expired

    def _form(
        self, asked: _Asked, *, chosen: str | None, comment: str = "", fault: str | None = None, status: int = 200
    ) -> Response:
        return ApprovalView(
            organisation=self._organisation,
            inquiry=asked.inquiry,
            person=asked.claims.subject,
            path=asked.path,
            until=asked.record.timeout_at,
            now=int(self._clock() * 1000),
            chosen=chosen,
            comment=comment,
            fault=fault,
        ).response(status)

    def _standing(self, asked: _Asked, settled: Settled, *, refused: str | None = None) -> Response:
        """Return the page of a wait that is over; 409 where somebody tried to decide otherwise."""
        outcome = settled.outcome

        if outcome.kind in CLOSED:
            raise Notice(410, _closed(outcome))

        kept = outcome.value
        recorded = Recorded(
            decision=outcome.kind,
            by=outcome.subject or "",
            at=settled.settled_at,
            comment=str(kept.get("comment", "")) if isinstance(kept, dict) else "",
        )

        return ApprovalView(
            organisation=self._organisation,
            inquiry=asked.inquiry,
            person=asked.claims.subject,
            path=asked.path,
            until=asked.record.timeout_at,
            now=int(self._clock() * 1000),
            recorded=recorded,
            refused=refused,
        ).response(200 if refused is None else 409)


def _closed(outcome: Outcome) -> str | None:
    match outcome.kind, outcome.by:
        case "cancelled", "workflow":
            return f"{outcome.message} Nothing more can be recorded here."
        case "cancelled", _:
            return _WITHDRAWN
        case _:
            return None
