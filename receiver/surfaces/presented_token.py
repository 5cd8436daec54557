"""The token of a request: verified, counted if it is not genuine, and named in the access log.

This file reads no body and calls no engine, so that refusing a forged token stays cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.callbacks.claims import TokenInvalid
from receiver.http.problems import Problem
from receiver.http.telemetry import name_callback

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Scope

    from orchestrator.callbacks.claims import Audience, Presented
    from receiver.http.problems import ProblemName
    from receiver.surfaces.edge import Edge


def verify_token(  # noqa: PLR0913 - one check with named parts
    edge: Edge,
    scope: Scope,
    token: str,
    *,
    audience: Audience,
    refusal: ProblemName,
    outcome: str | None = None,
    guessed: Callable[[], None] | None = None,
) -> Presented:
    """Return the claims of a genuine token, even if it has expired; the access line of this request names the wait.

    If an `outcome` is given, the token must allow it. For a token that is not genuine, `guessed` is called, which
    counts it in the surface's metrics, and it counts against the client's address. Without `guessed` nothing is
    counted: the sender is authenticated in another way, so it is not guessing.

    The problem is made where it is raised: in a variable of this function it would form a cycle with its own traceback,
    and every forged token would leave its request behind for the garbage collector.

    Raises:
        Problem: `refusal`, or `rate-limited` if too many tokens from this address were not genuine.
    """
    try:
        presented = edge.signer.verify_even_expired(token, audience=audience)
    except TokenInvalid:
        if guessed is None:
            raise Problem(refusal) from None

        guessed()
        raise edge.bad_tokens.refusal(scope, Problem(refusal)) from None

    claims = presented.claims

    if claims.is_of_root or (outcome is not None and outcome not in claims.outcomes):
        raise Problem(refusal)

    name_callback(scope, claims.promise_id, claims.callback)

    return presented
