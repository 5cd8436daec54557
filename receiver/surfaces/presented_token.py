"""The token of a request: verified, counted where it was guessed, and named in the access log.

It reads no body and asks no engine, so a forged token costs neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.callbacks.claims import TokenInvalid
from receiver.http.telemetry import name_callback

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Scope

    from orchestrator.callbacks.claims import Audience, Presented
    from receiver.http.problems import Problem
    from receiver.surfaces.edge import Edge


def verify_token(  # noqa: PLR0913 - one check, all of it named
    edge: Edge,
    scope: Scope,
    token: str,
    *,
    audience: Audience,
    refusal: Problem,
    outcome: str | None = None,
    guessed: Callable[[], None] | None = None,
) -> Presented:
    """Return what a genuine token of a wait says, an expired one's too; the access line of this request names the wait.

    Where an `outcome` is given the token must allow it. `guessed` counts a token that is not genuine in the surface's
    metrics; such a token counts against the client's address, too. Without it nothing is counted: the sender has proved
    itself in another way, and guesses at nothing.

    Raises:
        Problem: `refusal`, or `rate-limited` where too many tokens from this address were not genuine.
    """
    try:
        presented = edge.signer.verify_even_expired(token, audience=audience)
    except TokenInvalid:
        if guessed is None:
            raise refusal from None

        guessed()
        raise edge.bad_tokens.refusal(scope, refusal) from None

    claims = presented.claims

    if claims.is_of_root or (outcome is not None and outcome not in claims.outcomes):
        raise refusal

    name_callback(scope, claims.promise_id, claims.callback)

    return presented
