"""Machine callbacks: a job, or another service, presents the token of one wait and settles it.

The token is verified before anything else happens, so a forged one causes no engine call and no reading of a body. The
caller's proof, if it is required, is verified over the bytes of the body before they are parsed. The response reflects
the engine's record, never what this process believes. A GET settles nothing.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import JSONResponse

from orchestrator.callbacks.claims import PATHS, TokenExpired
from orchestrator.callbacks.deliver import WaitReplaced, deliver, wait_of
from orchestrator.callbacks.outcomes import CLOSED, Outcome
from orchestrator.callbacks.wait_traces import trace_wait
from orchestrator.durable.step_traces import trace_of_workflow
from orchestrator.text.times import rfc3339
from orchestrator.tracing import one_traceparent
from receiver.http.auth import NotBearer, bearer_token
from receiver.http.bodies import read_json, unparsed_json
from receiver.http.idempotency_keys import idempotency_key
from receiver.http.problems import Problem
from receiver.http.routing import route
from receiver.senders.schemes.scheme import SignatureRefused
from receiver.surfaces.caller_proof import verify_proof
from receiver.surfaces.presented_token import verify_token
from receiver.surfaces.progress import HEADER, progress_token, report_progress
from receiver.surfaces.settled import settled_response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from orchestrator.callbacks.claims import Claims, Presented
    from orchestrator.callbacks.settlement import Settlement
    from orchestrator.config.secret import Secret
    from receiver.http.bad_tokens import BadTokens
    from receiver.surfaces.caller_proof import Kind
    from receiver.surfaces.edge import Edge

_PATH: Final = PATHS["machine"]

_FAILURE_FIELDS: Final = {"message", "details"}

#: The verdicts on a delivery that did not settle the wait, neither now nor earlier.
_NOT_SETTLED_BY_IT: Final = frozenset({"other", "closed"})


class Callbacks:
    """The surface `/callbacks`."""

    def __init__(self, edge: Edge, *, caller_secrets: Sequence[Secret], bad_proofs: BadTokens) -> None:
        self._edge = edge
        self._caller_secrets = caller_secrets
        self._bad_proofs = bad_proofs

    def routes(self) -> list[Route]:
        """Return the routes of this surface."""
        return [
            route(_PATH, GET=self.show, POST=self.succeeded),
            route(f"{_PATH}/failure", POST=self.failed),
            route(PATHS["progress"], POST=partial(report_progress, self._edge)),
            route(f"{_PATH}/{{token}}", GET=self.show, POST=self.succeeded),
            route(f"{_PATH}/{{token}}/failure", POST=self.failed),
        ]

    async def show(self, request: Request) -> Response:
        """Describe this callback. Never settles anything."""
        presented = self._presented(request, _token_of(request))
        claims = presented.claims

        try:
            settled = (await wait_of(self._edge.engine.promises, presented)).settled
        except TokenExpired:
            raise Problem("unknown-promise") from None
        except WaitReplaced:
            raise Problem("expired", **_seen(claims, "expired")) from None

        if settled is None:
            state = "expired" if presented.expired else "pending"
        else:
            state = "expired" if settled.outcome.kind in CLOSED else "settled"

        # A job that makes spans of its own can let them belong to the trace of its workflow.
        trace = await trace_of_workflow(self._edge.engine, claims.promise_id)
        headers = {} if trace is None else {"traceparent": trace}

        if state == "pending":
            headers[HEADER] = progress_token(self._edge.signer, claims)

        return JSONResponse(_seen(claims, state), headers=headers)

    async def succeeded(self, request: Request) -> Response:
        """Settle the wait as succeeded; the body is the result."""
        return await self._settle(request, "succeeded")

    async def failed(self, request: Request) -> Response:
        """Settle the wait as failed; the body is a message and details."""
        return await self._settle(request, "failed")

    async def _settle(self, request: Request, kind: Kind) -> Response:
        token = _token_of(request)
        presented = self._presented(request, token)
        claims = presented.claims

        if kind not in claims.outcomes:
            raise Problem("invalid-token")

        ikey = _ikey_of(request, claims)
        text = await self._body(request, kind, token)
        outcome = Outcome(kind=kind, callback=claims.callback, by="callback", body=text, subject=claims.subject)
        promises = self._edge.engine.promises

        try:
            settlement = await deliver(promises, await wait_of(promises, presented), outcome, ikey)
        except WaitReplaced:
            self._edge.metrics.callback("closed")
            raise _expired(claims) from None
        except TokenExpired:
            raise _expired(claims) from None

        # With an expired token, a caller may repeat its own delivery, but learns nothing about anybody else's.
        if presented.expired and settlement.verdict in _NOT_SETTLED_BY_IT:
            raise _expired(claims)

        linked = one_traceparent(request.headers.getlist("traceparent"))
        await trace_wait(self._edge.engine, claims.promise_id, claims.opened_at, settlement, linked=linked)
        self._edge.metrics.callback(settlement.verdict)

        return _response(claims, settlement)

    async def _body(self, request: Request, kind: Kind, token: str) -> str:
        data = await unparsed_json(request, limit=self._edge.max_body)
        self._prove(request, data, kind, token)
        body = await read_json(data)

        if kind == "failed" and not _is_failure(body.value):
            raise Problem("malformed-body", 'A failure is {"message": text, "details": anything}; details is optional.')

        return body.text

    def _prove(self, request: Request, data: bytes, kind: Kind, token: str) -> None:
        """Return if the proof for this body is valid, or none is required. The one place that refuses a proof."""
        if not self._caller_secrets:
            return

        try:
            verify_proof(self._caller_secrets, request.headers.raw, data, kind=kind, token=token, now=self._edge.clock)
        except SignatureRefused:
            self._edge.metrics.callback("refused")
            raise self._bad_proofs.refusal(request.scope, Problem("invalid-proof")) from None

    def _presented(self, request: Request, token: str) -> Presented:
        return verify_token(
            self._edge,
            request.scope,
            token,
            audience="machine",
            refusal="invalid-token",
            guessed=partial(self._edge.metrics.callback, "refused"),
        )


def _token_of(request: Request) -> str:
    """Return the request's token, from its path or its Authorization header; without one, an empty string.

    Raises:
        Problem: `two-tokens`.
    """
    in_path = request.path_params.get("token")
    headers = request.headers.getlist("authorization")

    try:
        in_header = bearer_token(headers)
    except NotBearer:
        if len(headers) > 1:
            raise Problem("two-tokens") from None

        in_header = None

    if in_path is not None and in_header is not None:
        raise Problem("two-tokens")

    return in_path if in_path is not None else in_header or ""


def _ikey_of(request: Request, claims: Claims) -> str:
    key = idempotency_key(request.headers.getlist("idempotency-key"))

    return claims.ikey if key is None else f"header:{key}"


def _is_failure(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("message"), str) and value.keys() <= _FAILURE_FIELDS


def _response(claims: Claims, settlement: Settlement) -> Response:
    settled = settlement.settled
    settled_at = rfc3339(settled.settled_at)

    match settlement.verdict:
        case "applied" | "duplicate":
            return settled_response(claims, settled, duplicate=settlement.verdict == "duplicate")
        case "ikey_reused":
            raise Problem("ikey-reused", "The outcome that was recorded first still applies.", settled_at=settled_at)
        case "other":
            raise Problem("already-settled", settled_at=settled_at, by=settled.outcome.by)
        case "closed":
            raise _expired(claims)


def _seen(claims: Claims, state: str) -> dict[str, Any]:
    return {"callback": claims.callback, "state": state, "expires_at": rfc3339(claims.expires_at * 1000)}


def _expired(claims: Claims) -> Problem:
    return Problem("expired", expires_at=rfc3339(claims.expires_at * 1000))
