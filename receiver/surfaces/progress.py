"""How far a job has come: whoever holds the progress token of a wait reports it while the wait is open.

The token comes from a GET with the callback's own token, as a header. It settles nothing, and no callback token reports
progress. A report is shown to people and decides nothing, so it needs no proof of the caller.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, TypeGuard

from starlette.responses import JSONResponse

from orchestrator.callbacks.claims import TokenExpired
from orchestrator.callbacks.deliver import WaitReplaced, wait_of
from orchestrator.callbacks.progress import Progress, record_progress
from orchestrator.text.times import rfc3339
from receiver.http.auth import NotBearer, bearer_token
from receiver.http.bodies import json_body
from receiver.http.problems import Problem
from receiver.surfaces.presented_token import verify_token

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from orchestrator.callbacks.claims import Claims
    from orchestrator.callbacks.tokens import TokenSigner
    from receiver.surfaces.edge import Edge

#: The header of a callback's description that carries the token for its progress.
HEADER: Final = "countersign-progress"

_MAX_BODY: Final = 4096
_SHAPE: Final = 'Progress is {"fraction": number from 0 to 1 or null, "message": text}; both are optional.'


def progress_token(signer: TokenSigner, claims: Claims) -> str:
    """Return the token that reports progress on the wait of a machine's callback token, and does nothing else."""
    return signer.mint(replace(claims, audience="progress", outcomes=()))


async def report_progress(edge: Edge, request: Request) -> Response:
    """Record a report, or pass over one that comes too early; say in how many seconds the next one is recorded."""
    presented = verify_token(
        edge,
        request.scope,
        _bearer(request),
        audience="progress",
        refusal="invalid-token",
        guessed=partial(edge.metrics.callback, "refused"),
    )
    over = Problem("expired", expires_at=rfc3339(presented.claims.expires_at * 1000))
    progress = _progress(
        (await json_body(request, limit=min(edge.max_body, _MAX_BODY))).value, int(edge.clock() * 1000)
    )

    try:
        wait = await wait_of(edge.engine.promises, presented)
    except (TokenExpired, WaitReplaced):
        raise over from None

    if wait.settled is not None or presented.expired:
        raise over

    pause = await record_progress(edge.engine.promises, wait.record, progress)

    return JSONResponse({"callback": presented.claims.callback, "next_in": pause / 1000})


def _bearer(request: Request) -> str:
    try:
        return bearer_token(request.headers.getlist("authorization")) or ""
    except NotBearer:
        return ""


def _progress(value: object, at: int) -> Progress:
    if not isinstance(value, dict) or not value.keys() <= {"fraction", "message"}:
        raise Problem("malformed-body", _SHAPE)

    fraction, message = value.get("fraction"), value.get("message", "")

    if not isinstance(message, str) or not (fraction is None or _is_fraction(fraction)):
        raise Problem("malformed-body", _SHAPE)

    return Progress.reported(None if fraction is None else float(fraction), message, at=at)


def _is_fraction(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
