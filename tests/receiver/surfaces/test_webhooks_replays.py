"""A captured delivery is valid only for the wait that it settled, and only at the source that it was sent to."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from typing import TYPE_CHECKING

import pytest
from support.edge import edge, problem, untouched
from support.posting import Post
from support.senders import BODY_ONLY, SIGNED, senders, sources_file

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", SIGNED)
async def test_a_captured_delivery_does_not_answer_another_wait(post: Post, name: str) -> None:
    first, second = await post.here.asked("1"), await post.here.asked("2")
    headers = post.known[name].sign("{}")

    assert (await post.send(name, "{}", headers, token=first)).json()["state"] == "settled"
    for _ in range(2):
        replayed = await post.send(name, "{}", headers, token=second)
        assert (replayed.status_code, replayed.json()["state"]) == (200, "over")

    assert await untouched(post.here, "2")


@pytest.mark.parametrize("name", SIGNED)
async def test_a_captured_delivery_at_another_source_is_refused(post: Post, name: str) -> None:
    token = await post.here.asked()
    headers = post.known[name].sign("{}")

    for other in {*SIGNED, "databricks"} - {name}:
        problem(await post.send(other, "{}", headers, token=token), 401, "invalid-signature")

    assert await untouched(post.here)


@pytest.mark.parametrize("name", BODY_ONLY)
async def test_new_unsigned_ids_do_not_make_a_body_a_new_delivery(post: Post, name: str) -> None:
    first, second = await post.here.asked("1"), await post.here.asked("2")

    for n, token in enumerate((first, first, second)):
        ids = {"X-GitHub-Delivery": str(n), "X-Shopify-Webhook-Id": str(n), "Idempotency-Key": str(n)}
        answer = await post.deliver(name, {"same": 1}, token=token, more=ids)
        assert (answer.status_code, answer.json()["state"]) == (200, ["settled", "settled", "over"][n])

    assert await untouched(post.here, "2")


async def test_a_body_is_bound_for_good_where_no_time_is_signed_and_in_every_process(post: Post) -> None:
    first, second = await post.here.asked("1"), await post.here.asked("2")
    await post.deliver("github", {"same": 1}, token=first)
    await post.here.ended("1")
    key = hashlib.sha256(b"." + json.dumps({"same": 1}).encode()).hexdigest()
    record = await post.here.engine.promises.get(f"countersign~delivery.github.{key}")

    assert record.state == "pending"
    assert record.timeout_at > (time.time() + 50 * 365 * 86400) * 1000
    assert first not in repr(record)
    assert (await post.deliver("github", {"same": 1}, token=second)).json()["state"] == "over"


async def test_of_one_body_for_a_hundred_waits_at_once_one_is_settled(post: Post) -> None:
    tokens = [await post.here.asked(str(n)) for n in range(20)]
    answers = await asyncio.gather(*(post.deliver("github", {"same": 1}, token=token) for token in tokens))

    assert sorted(answer.json()["state"] for answer in answers) == ["over"] * 19 + ["settled"]


@pytest.mark.parametrize("name", ["stripe", "slack", "timed"])
async def test_equal_bodies_signed_at_different_times_are_different_deliveries(post: Post, name: str) -> None:
    first, second = await post.here.asked("1"), await post.here.asked("2")
    now = int(time.time())
    await post.deliver(name, {"same": 1}, token=first, moment=now)

    assert (await post.deliver(name, {"same": 1}, token=second, moment=now - 1)).json()["state"] == "settled"


async def test_a_delivery_that_was_never_wanted_by_its_wait_is_not_bound_to_it(post: Post) -> None:
    over, still_open = await post.here.asked("1", deadline=1), await post.here.asked("2")
    await post.here.ended("1")
    await post.deliver("github", {"same": 1}, token=over)

    assert (await post.deliver("github", {"same": 1}, token=still_open)).json()["state"] == "settled"


async def test_the_identity_in_the_signed_body_tells_deliveries_apart(tmp_path: Path) -> None:
    known = senders()
    async with edge(tmp_path, SOURCES=sources_file(tmp_path, known, 'id = "id"')) as here:
        post = Post(here, known)
        first, second = await here.asked("1"), await here.asked("2")
        assert (await post.deliver("stripe", {"id": "evt_1", "n": 1}, token=first)).json()["duplicate"] is False

        # Stripe counts its attempts in the body.
        assert (await post.deliver("stripe", {"id": "evt_1", "n": 2}, token=first)).json()["duplicate"] is True
        assert (await post.deliver("stripe", {"id": "evt_1", "n": 3}, token=second)).json()["state"] == "over"
        assert (await post.deliver("stripe", {"id": 7}, token=second)).json()["state"] == "settled"
        assert (await here.ended("1"))["result"]["value"] == {"id": "evt_1", "n": 1}


@pytest.mark.parametrize("identity", [None, "", True, 1.5, [], {}, "x" * 1025])
async def test_a_delivery_without_the_identity_it_should_have_is_malformed(tmp_path: Path, identity: object) -> None:
    known = senders()
    async with edge(tmp_path, SOURCES=sources_file(tmp_path, known, 'id = "id"')) as here:
        post = Post(here, known)
        token = await here.asked()
        problem(await post.deliver("stripe", {"id": identity}, token=token), 400, "malformed-body")
        assert await untouched(post.here)
