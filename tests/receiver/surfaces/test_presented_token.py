"""The token of a request: what is refused, what is counted, and what the access log may name."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest

from orchestrator.callbacks.claims import Claims
from orchestrator.callbacks.tokens import TokenSigner
from orchestrator.config.secret import Secret
from receiver.http.bad_tokens import BadTokens
from receiver.http.problems import Problem
from receiver.http.telemetry import Metrics
from receiver.surfaces.edge import Edge
from receiver.surfaces.presented_token import verify_token

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Scope

    from orchestrator.callbacks.claims import Presented
    from orchestrator.engine import Engine

CLAIMS = Claims(
    promise_id="w.1:1",
    callback="run-1",
    audience="machine",
    subject="job 7",
    outcomes=("succeeded",),
    expires_at=4_000_000_000,
    opened_at=4,
)


class Door:
    """A surface that accepts tokens, and what it counted."""

    def __init__(self) -> None:
        self.signer = TokenSigner((Secret(b"key-of-the-presented-token-tests"),))
        self.guesses = 0
        self.refused: Callable[[], Problem | None] = lambda: None
        self.scope: Scope = {"type": "http", "client": ("192.0.2.1", 1)}
        self.edge = Edge(
            engine=cast("Engine", None),
            signer=self.signer,
            metrics=Metrics(),
            bad_tokens=BadTokens(limit=1),
            max_body=1,
        )

    def guessed(self) -> None:
        self.guesses += 1

    def take(self, token: str, *, outcome: str | None = None, counted: bool = True) -> Presented | str:
        """Return the claims of the token, or the name of the refusal."""
        try:
            return verify_token(
                self.edge,
                self.scope,
                token,
                audience="machine",
                refusal="invalid-token",
                outcome=outcome,
                guessed=self.guessed if counted else None,
            )
        except Problem as problem:
            self.refused = weakref.ref(problem)
            return problem.name


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.mark.parametrize("expires_at", [CLAIMS.expires_at, 1])
def test_a_genuine_token_names_its_wait_in_the_log_expired_or_not(door: Door, expires_at: int) -> None:
    claims = replace(CLAIMS, expires_at=expires_at)
    presented = door.take(door.signer.mint(claims), outcome="succeeded")

    assert not isinstance(presented, str)
    assert (presented.claims, presented.expired) == (claims, expires_at == 1)
    assert ("w.1:1", "run-1") in door.scope.values()
    assert (door.guesses, len(door.edge.bad_tokens)) == (0, 0)


def test_a_guess_is_counted_and_too_many_are_told_to_wait(door: Door) -> None:
    assert [door.take("guess"), door.take("guess")] == ["invalid-token", "rate-limited"]
    assert door.guesses == 2


def test_a_token_for_another_audience_is_a_guess(door: Door) -> None:
    assert door.take(door.signer.mint(replace(CLAIMS, audience="approver"))) == "invalid-token"
    assert door.guesses == 1


def test_nothing_is_counted_where_the_sender_has_proved_itself(door: Door) -> None:
    assert [door.take("guess", counted=False) for _ in range(3)] == ["invalid-token"] * 3
    assert (door.guesses, len(door.edge.bad_tokens)) == (0, 0)


@pytest.mark.parametrize("claims", [replace(CLAIMS, promise_id="w.1"), replace(CLAIMS, outcomes=("failed",))])
def test_a_token_of_a_root_or_of_other_outcomes_is_refused_uncounted_and_unnamed(door: Door, claims: Claims) -> None:
    before = dict(door.scope)

    assert door.take(door.signer.mint(claims), outcome="succeeded") == "invalid-token"
    assert door.scope == before
    assert (door.guesses, len(door.edge.bad_tokens)) == (0, 0)


@pytest.mark.parametrize("counted", [True, False])
def test_a_refused_token_leaves_nothing_to_the_garbage_collector(door: Door, *, counted: bool) -> None:
    gc.disable()

    try:
        door.take("guess", counted=counted)
        assert door.refused() is None
    finally:
        gc.enable()
