"""Machine callbacks: a job, or another service, presents the token of one wait and settles it.

The token is verified before anything else happens, so a forged one costs no engine call and no reading of a body. The
caller's proof, where it is asked for, is verified over the bytes of the body before they are parsed. What is answered
follows the record that the engine holds, never what this process believes. A GET settles nothing.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from orchestrator.callbacks.claims import TokenExpired, TokenInvalid
from orchestrator.callbacks.outcomes import CLOSED, Outcome, Settled, read_settled
from orchestrator.callbacks.settlement import judge, resolve
from orchestrator.errors import UnknownPromise
from receiver.http.auth import NotBearer, bearer_token
from receiver.http.bodies import read_json, unparsed_json
from receiver.http.problems import Problem
from receiver.http.routing import route
from receiver.http.telemetry import name_callback
from receiver.http.timestamps import rfc3339
from receiver.senders.schemes.scheme import SignatureRefused
from receiver.surfaces.caller_proof import verify_proof

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from resonate.types import PromiseRecord
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from orchestrator.callbacks.claims import Claims
    from orchestrator.callbacks.settlement import Verdict
    from orchestrator.callbacks.tokens import TokenSigner
    from orchestrator.config.secret import Secret
    from orchestrator.engine import Engine
    from receiver.http.bad_tokens import BadTokens
    from receiver.http.telemetry import Metrics
    from receiver.surfaces.caller_proof import Kind

#: 1 to 255 visible ASCII characters.
_IKEY: Final = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)
_FAILURE_FIELDS: Final = {"message", "details"}


@dataclass(frozen=True, kw_only=True)
class _Presented:
    """A genuine token, as its text was presented, and what it says."""

    token: str
    claims: Claims
    expired: bool


class Callbacks:
    """The surface `/callbacks`."""

    def __init__(  # noqa: PLR0913 - what the surface needs, put together once
        self,
        engine: Engine,
        signer: TokenSigner,
        *,
        caller_secrets: Sequence[Secret],
        bad_tokens: BadTokens,
        bad_proofs: BadTokens,
        metrics: Metrics,
        max_body: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._engine = engine
        self._signer = signer
        self._caller_secrets = caller_secrets
        self._bad_tokens = bad_tokens
        self._bad_proofs = bad_proofs
        self._metrics = metrics
        self._max_body = max_body
        self._clock = clock

    def routes(self) -> list[Route]:
        """Return the routes of this surface."""
        return [
            route("/callbacks", GET=self.show, POST=self.succeeded),
            route("/callbacks/failure", GET=self.post_only, POST=self.failed),
            route("/callbacks/{token}", GET=self.show, POST=self.succeeded),
            route("/callbacks/{token}/failure", POST=self.failed),
        ]

    async def show(self, request: Request) -> Response:
        """Say what this callback is. Settles nothing, whoever asks and however often."""
        claims = self._verified(request).claims
        record = await self._engine.promises.get(claims.promise_id)

        if not claims.is_for(record):
            raise Problem("expired", **_seen(claims, "expired"))

        settled = read_settled(record, callback=claims.callback)

        if settled is None:
            state = "pending" if self._clock() <= claims.expires_at else "expired"
        else:
            state = "expired" if settled.outcome.kind in CLOSED else "settled"

        return JSONResponse(_seen(claims, state))

    async def succeeded(self, request: Request) -> Response:
        """Settle the wait as succeeded; the body is the result."""
        return await self._settle(request, "succeeded")

    async def failed(self, request: Request) -> Response:
        """Settle the wait as failed; the body is a message and details."""
        return await self._settle(request, "failed")

    async def post_only(self, _: Request) -> Response:
        """Refuse to look at `failure`: it would be taken for a token."""
        raise HTTPException(405, headers={"Allow": "POST"})

    async def _settle(self, request: Request, kind: Kind) -> Response:
        presented = self._verified(request)
        claims = presented.claims

        if kind not in claims.outcomes:
            raise Problem("invalid-token")

        ikey = _ikey_of(request, claims)
        text = await self._body(request, kind, presented.token)
        outcome = Outcome(kind=kind, callback=claims.callback, by="callback", body=text, subject=claims.subject)
        settled = read_settled(await self._wait_of(presented), callback=claims.callback)

        # With an expired token a delivery can repeat what is recorded and change nothing.
        if presented.expired and (settled is None or settled.ikey != ikey):
            raise _expired(claims)

        if settled is None:
            settlement = await resolve(
                self._engine.promises, claims.promise_id, ikey=ikey, outcome=outcome, opened=claims.opened_at
            )
            verdict, settled = settlement.verdict, settlement.settled
        else:
            verdict = judge(settled, ikey, outcome)

        self._metrics.callback(verdict)

        return _answer(claims, verdict, settled)

    async def _wait_of(self, presented: _Presented) -> PromiseRecord:
        """Return the record of the wait that the token is for; a later one of the same id is another wait."""
        claims = presented.claims

        try:
            record = await self._engine.promises.get(claims.promise_id)
        except UnknownPromise:
            if presented.expired:
                raise _expired(claims) from None

            raise

        if not claims.is_for(record):
            self._metrics.callback("closed")
            raise _expired(claims)

        return record

    async def _body(self, request: Request, kind: Kind, token: str) -> str:
        data = await unparsed_json(request, limit=self._max_body)
        self._prove(request, data, kind, token)
        body = await read_json(data)

        if kind == "failed" and not _is_failure(body.value):
            raise Problem("malformed-body", 'A failure is {"message": text, "details": anything}, details optional.')

        return body.text

    def _prove(self, request: Request, data: bytes, kind: Kind, token: str) -> None:
        """Return if the caller proves itself for this body, or need not. The one place that refuses a proof."""
        if not self._caller_secrets:
            return

        try:
            verify_proof(self._caller_secrets, request.headers.raw, data, kind=kind, token=token, now=self._clock)
        except SignatureRefused:
            self._metrics.callback("refused")
            raise self._bad_proofs.refusal(request.scope, Problem("invalid-proof")) from None

    def _verified(self, request: Request) -> _Presented:
        """Return the request's token and its claims, an expired one's too."""
        token = _token_of(request)

        try:
            claims, expired = self._signer.verify(token, audience="machine"), False
        except TokenExpired as error:
            claims, expired = error.claims, True
        except TokenInvalid:
            self._metrics.callback("refused")
            raise self._bad_tokens.refusal(request.scope, Problem("invalid-token")) from None

        # A wait is below a root. A root is settled by its own worker and nobody else.
        if ":" not in claims.promise_id:
            raise Problem("invalid-token")

        name_callback(request.scope, claims.promise_id, claims.callback)

        return _Presented(token=token, claims=claims, expired=expired)


def _token_of(request: Request) -> str:
    """Return the one token a request carries, in its path or as a bearer token; without one, the empty text.

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
    keys = request.headers.getlist("idempotency-key")

    if not keys:
        return claims.ikey

    if len(keys) > 1 or _IKEY.fullmatch(keys[0]) is None:
        raise Problem("invalid-key", "An Idempotency-Key is 1 to 255 visible ASCII characters, given once.")

    return f"header:{keys[0]}"


def _is_failure(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("message"), str) and value.keys() <= _FAILURE_FIELDS


def _answer(claims: Claims, verdict: Verdict, settled: Settled) -> Response:
    settled_at = rfc3339(settled.settled_at)

    match verdict:
        case "applied" | "duplicate":
            return JSONResponse(
                {
                    "state": "settled",
                    "duplicate": verdict == "duplicate",
                    "callback": claims.callback,
                    "settled_at": settled_at,
                }
            )
        case "ikey_reused":
            raise Problem("ikey-reused", "What was recorded first stands.", settled_at=settled_at)
        case "other":
            raise Problem("already-settled", settled_at=settled_at, by=settled.outcome.by)
        case "closed":
            raise _expired(claims)


def _seen(claims: Claims, state: str) -> dict[str, Any]:
    return {"callback": claims.callback, "state": state, "expires_at": rfc3339(claims.expires_at * 1000)}


def _expired(claims: Claims) -> Problem:
    return Problem("expired", expires_at=rfc3339(claims.expires_at * 1000))
