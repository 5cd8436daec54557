"""The tokens of machine callbacks: one per request, genuine, for a wait, for this outcome, and not expired."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from support.edge import Edge, edge, minted, problem, untouched

from orchestrator.callbacks.tokens import TokenSigner
from orchestrator.config.secret import Secret

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Edge]:
    async with edge(tmp_path) as one:
        yield one


async def test_no_token_is_refused_as_a_bad_one(here: Edge) -> None:
    answer = await here.client.post("/callbacks", json=1)

    problem(answer, 401, "invalid-token")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "damage",
    [
        lambda token: token[:-1],
        lambda token: token + "A",
        lambda token: token[:-1] + ("A" if token[-1] != "A" else "E"),
        lambda token: token.replace(".", "~"),
        lambda token: "A" * 5000,
        lambda token: token.partition(".")[0],
        lambda token: token.upper(),
    ],
)
async def test_a_damaged_token_settles_nothing_and_costs_no_engine_call(here: Edge, damage: Any) -> None:
    token = await here.asked()
    here.engine.promises.get = here.engine.promises.resolve = None  # type: ignore[assignment,method-assign]

    refused = problem(await here.post(damage(token), 1), 401, "invalid-token")
    assert refused == problem(await here.client.post(f"/callbacks/{damage(token)}", json=1), 401, "invalid-token")


async def test_a_token_of_a_foreign_key_is_refused(here: Edge) -> None:
    claims = minted(here).signer.verify(await here.asked(), audience="machine")
    forged = TokenSigner([Secret(secrets.token_bytes(32))]).mint(claims)

    problem(await here.post(forged, 1), 401, "invalid-token")
    assert await untouched(here)


async def test_an_approvers_token_settles_nothing_here(here: Edge) -> None:
    token = await here.asked(audience="approver")

    problem(await here.post(token, 1), 401, "invalid-token")
    assert await untouched(here)


async def test_a_token_for_a_root_promise_is_refused(here: Edge) -> None:
    links = minted(here)
    claims = links.signer.verify(await here.asked(), audience="machine")

    problem(await here.post(links.signer.mint(replace(claims, promise_id="ask.1")), 1), 401, "invalid-token")
    assert (await here.engine.promises.get("ask.1")).state == "pending"


async def test_an_outcome_that_the_token_does_not_allow_is_refused(here: Edge) -> None:
    links = minted(here)
    claims = links.signer.verify(await here.asked(), audience="machine")
    token = links.signer.mint(replace(claims, outcomes=("succeeded",)))

    problem(await here.post(token, {"message": "x"}, path="/callbacks/failure"), 401, "invalid-token")
    assert await untouched(here)


async def test_a_token_in_two_places_is_refused(here: Edge) -> None:
    token = await here.asked()

    problem(await here.post(token, 1, path=f"/callbacks/{token}"), 400, "two-tokens")
    both = [("authorization", f"Bearer {token}")] * 2
    problem(await here.client.post("/callbacks", json=1, headers=both), 400, "two-tokens")
    assert await untouched(here)


async def test_a_genuine_token_of_a_wait_that_never_was_is_unknown(here: Edge) -> None:
    links = minted(here)
    claims = links.signer.verify(await here.asked(), audience="machine")
    token = links.signer.mint(replace(claims, promise_id="ask.never:1"))

    problem(await here.post(token, 1), 404, "unknown-promise")


async def test_an_expired_token_of_a_wait_that_never_was_comes_too_late_and_looking_finds_nothing(here: Edge) -> None:
    links = minted(here)
    claims = links.signer.verify(await here.asked(), audience="machine")
    token = links.signer.mint(replace(claims, promise_id="ask.never:1", expires_at=1))

    problem(await here.post(token, 1), 410, "expired")
    problem(await here.client.get(f"/callbacks/{token}"), 404, "unknown-promise")


async def test_an_expired_token_settles_nothing_but_still_finds_its_own_settlement(here: Edge) -> None:
    links = minted(here)
    token = await here.asked()
    expired = links.signer.mint(replace(links.signer.verify(token, audience="machine"), expires_at=1))

    problem(await here.post(expired, 1), 410, "expired")
    assert await untouched(here)

    await here.post(token, 1)
    assert (await here.post(expired, 1)).json()["duplicate"] is True
    problem(await here.post(expired, 2), 422, "ikey-reused")
    problem(await here.post(expired, 1, headers={"Idempotency-Key": "other"}), 410, "expired")


async def test_a_wait_past_its_deadline_is_expired(here: Edge) -> None:
    token = await here.asked(deadline=1)

    assert (await here.ended())["result"] == {"kind": "expired", "value": None, "by": "deadline"}
    problem(await here.post(token, 1), 410, "expired")


async def test_too_many_bad_tokens_are_slowed_down_and_a_genuine_one_is_not(here: Edge) -> None:
    token = await here.asked()

    for _ in range(60):
        problem(await here.post("bad", 1), 401, "invalid-token")

    answer = await here.post("bad", 1)
    problem(answer, 429, "rate-limited")
    assert int(answer.headers["retry-after"]) > 0
    assert (await here.post(token, 1)).status_code == 200
