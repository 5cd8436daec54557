"""Deliveries for waits that are over: acknowledged, so that the sender stops, and without effect."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from support.edge import minted, problem, untouched
from support.posting import Post

from orchestrator.callbacks.outcomes import Outcome
from orchestrator.callbacks.settlement import resolve

if TYPE_CHECKING:
    pass


async def test_a_delivery_for_a_wait_that_is_over_is_taken_and_changes_nothing(post: Post) -> None:
    token = await post.here.asked()
    outcome = Outcome(kind="succeeded", callback="answer", by="callback", body="1")
    await resolve(post.here.engine.promises, "ask.1:1", ikey="k", outcome=outcome)

    answer = await post.deliver("github", 2, token=token)
    assert (answer.status_code, answer.json()) == (200, {"state": "over", "callback": "answer"})
    assert (await post.here.ended())["result"]["value"] == 1


async def test_a_delivery_after_the_deadline_is_taken(post: Post) -> None:
    token = await post.here.asked(deadline=1)
    await post.here.ended()

    answer = await post.deliver("github", 2, token=token)
    assert (answer.status_code, answer.json()["state"]) == (200, "over")


async def test_a_token_that_has_expired_settles_nothing(post: Post) -> None:
    links = minted(post.here)
    claims = links.signer.verify(await post.here.asked(), audience="machine")

    for promise_id in ("ask.1:1", "ask.never:1"):
        expired = links.signer.mint(replace(claims, promise_id=promise_id, expires_at=1))
        answer = await post.deliver("github", 2, token=expired)
        assert (answer.status_code, answer.json()["state"]) == (200, "over")

    assert await untouched(post.here)


async def test_a_wait_that_the_engine_does_not_hold_is_asked_for_again(post: Post) -> None:
    links = minted(post.here)
    claims = links.signer.verify(await post.here.asked(), audience="machine")
    token = links.signer.mint(replace(claims, promise_id="ask.never:1"))

    answer = await post.deliver("github", 2, token=token)
    problem(answer, 503, "engine-unavailable")
    assert int(answer.headers["retry-after"]) > 0
