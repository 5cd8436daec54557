"""Starts without an id: the service chooses one, or derives it from the key. Each response says where it is."""

from __future__ import annotations

import asyncio
import re
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from support.edge import AUTHORISED, Edge, edge, get, problem, put

from receiver.surfaces.workflow_ids import derived_id, new_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx2


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Edge]:
    async with edge(tmp_path, PUBLIC_URL="http://127.0.0.1:8000/below") as one:
        yield one


async def post(here: Edge, body: Any = None, path: str = "/workflows/ask", **headers: str) -> httpx2.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await here.client.post(path, json=body if body is not None else {}, headers=AUTHORISED | named)


def test_a_new_id_is_a_uuid_that_sorts_by_time() -> None:
    ids = [new_id(clock=lambda at=at: at) for at in (1_000.0, 1_000.001, 2_000.0, 2e9)]  # type: ignore[misc]

    assert ids == sorted(ids)
    assert all((uuid.UUID(each).version, uuid.UUID(each).variant) == (7, uuid.RFC_4122) for each in ids)
    assert new_id(clock=lambda: 1_000.0) != ids[0]


def test_a_derived_id_is_the_same_in_every_release() -> None:
    assert derived_id("ask", "k") == "key.88fc3c861d165e2859a9303c3ade12c8"
    assert len({derived_id("ask", "k"), derived_id("ask", "K"), derived_id("tell", "k")}) == 3


async def test_each_request_without_a_key_starts_a_workflow(here: Edge) -> None:
    first, second = await post(here), await post(here)

    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json().keys() == {"workflow", "id", "state", "created"}
    assert first.json()["id"] < second.json()["id"]
    assert (await get(here, f"/workflows/ask/{first.json()['id']}")).json()["state"] == "running"


async def test_the_same_key_finds_what_it_started(here: Edge) -> None:
    answers = await asyncio.gather(*(post(here, Idempotency_Key="order-7") for _ in range(20)))

    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert (await post(here, Idempotency_Key="order-8")).status_code == 201


async def test_the_same_key_with_another_input_is_refused(here: Edge) -> None:
    await post(here, {"name": "a"}, Idempotency_Key="k")

    problem(await post(here, {"name": "b"}, Idempotency_Key="k"), 409, "id-reused")


@pytest.mark.parametrize("keys", [[""], ["a b"], ["x" * 256], ["é"], ["a\tb"], ["a", "a"]])
async def test_a_key_that_is_none_is_refused(here: Edge, keys: list[str]) -> None:
    headers = [*AUTHORISED.items(), ("Content-Type", "application/json")]
    raw = [
        (name.encode(), value.encode("utf-8")) for name, value in [*headers, *(("Idempotency-Key", k) for k in keys)]
    ]

    problem(await here.client.post("/workflows/ask", content=b"{}", headers=raw), 400, "invalid-key")


async def test_the_answer_may_wait_for_the_result(here: Edge) -> None:
    held = asyncio.create_task(post(here, Idempotency_Key="k", Prefer="wait=20"))
    await here.post(await here.token(derived_id("ask", "k")), 7)

    assert (await held).json()["result"]["value"] == 7


async def test_every_start_says_where_the_workflow_is_below_the_public_url(here: Edge) -> None:
    first, again = await put(here, "/workflows/ask/a:b@c"), await put(here, "/workflows/ask/a:b@c")
    unnamed = await post(here)

    assert [first.headers["location"], again.headers["location"]] == ["/below/workflows/ask/a:b@c"] * 2
    assert unnamed.headers["location"] == f"/below/workflows/ask/{unnamed.json()['id']}"
    assert re.fullmatch(r"[!-~]+", unnamed.headers["location"])


async def test_a_start_needs_the_role_and_a_known_workflow_and_a_valid_input(here: Edge) -> None:
    problem(await here.client.post("/workflows/ask", json={}), 401, "unauthorized")
    problem(await post(here, path="/workflows/nope"), 404, "unknown-workflow")
    problem(await post(here, {"surprise": 1}), 422, "invalid-input")
    problem(await get(here, "/workflows/ask"), 405, "method-not-allowed")


async def test_an_id_with_a_colon_works_from_start_to_end_on_every_engine(tmp_path: Path, engine_url: str) -> None:
    path = "/workflows/ask/shop:47:11+a@b"

    async with edge(tmp_path, engine_url) as here:
        assert (await put(here, path)).json()["id"] == "shop:47:11+a@b"
        problem(await put(here, path, {"name": "other"}), 409, "id-reused")
        assert (await here.post(await here.token("shop;47;11+a@b"), 7)).status_code == 200
        ended = (await get(here, f"{path}?steps=1", Prefer="wait=20")).json()

        assert (ended["id"], ended["state"], ended["result"]["value"]) == ("shop:47:11+a@b", "succeeded", 7)
        assert [step["name"] for step in ended["steps"]] == ["answer", "hand_out"]

        await put(here, "/workflows/ask/a:b")
        await here.token("a;b")
        assert (await here.client.delete("/workflows/ask/a:b", headers=AUTHORISED)).status_code == 202
        ended = (await get(here, "/workflows/ask/a:b", Prefer="wait=20")).json()
        assert ended["result"]["kind"] == "cancelled"
