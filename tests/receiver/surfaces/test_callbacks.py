"""Machine callbacks over HTTP: the response to each caller, and what it settles.

Long because the surface has many statuses, and each has its cases.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from support.edge import JSON, Edge, edge, problem, untouched
from support.plant import pause

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Edge]:
    async with edge(tmp_path) as one:
        yield one


# -- settling -----------------------------------------------------------------


@pytest.mark.parametrize("place", ["header", "path"])
async def test_a_genuine_token_settles_its_wait_and_the_workflow_goes_on(here: Edge, place: str) -> None:
    token = await here.asked()
    body = {"rows": [1, 2.5, None, "é"]}

    if place == "header":
        answer = await here.post(token, body)
    else:
        answer = await here.client.post(f"/callbacks/{token}", json=body)

    assert answer.status_code == 200
    document = answer.json()
    assert document.pop("settled_at").endswith("Z")
    assert document == {"state": "settled", "duplicate": False, "callback": "answer"}
    assert (await here.ended())["result"] == {"kind": "succeeded", "value": body, "by": "callback"}


@pytest.mark.parametrize("place", ["header", "path"])
async def test_a_failure_settles_it_as_failed_with_message_and_details(here: Edge, place: str) -> None:
    token = await here.asked()
    body = {"message": "no input", "details": {"day": "monday"}}

    if place == "header":
        answer = await here.post(token, body, path="/callbacks/failure")
    else:
        answer = await here.client.post(f"/callbacks/{token}/failure", json=body)

    assert answer.status_code == 200
    assert (await here.ended())["result"] == {"kind": "failed", "value": body, "by": "callback"}


@pytest.mark.parametrize("body", [None, True, 0, "", [], {}, -1.5, "x" * 1000])
async def test_any_json_value_is_a_result(here: Edge, body: object) -> None:
    assert (await here.post(await here.asked(), body)).status_code == 200
    assert (await here.ended())["result"]["value"] == body


async def test_the_same_delivery_again_is_a_duplicate(here: Edge) -> None:
    token = await here.asked()
    first = await here.post(token, {"a": 1, "b": 2})
    again = await here.client.post(f"/callbacks/{token}", content='{"b": 2.0, "a": 1}', headers=JSON)

    assert again.status_code == 200
    assert again.json() == first.json() | {"duplicate": True}


async def test_the_same_key_with_another_outcome_is_refused_and_the_first_stands(here: Edge) -> None:
    token = await here.asked()
    await here.post(token, 1)

    problem(await here.post(token, 2), 422, "ikey-reused")
    problem(await here.post(token, {"message": "x"}, path="/callbacks/failure"), 422, "ikey-reused")
    assert (await here.ended())["result"]["value"] == 1


async def test_another_delivery_of_a_settled_wait_is_told_by_whom_and_when_and_not_with_what(here: Edge) -> None:
    token = await here.asked()
    first = await here.post(token, "secret", headers={"Idempotency-Key": "one"})
    answer = await here.post(token, "secret", headers={"Idempotency-Key": "two"})

    document = problem(answer, 409, "already-settled")
    assert (document["settled_at"], document["by"]) == (first.json()["settled_at"], "callback")
    assert "secret" not in answer.text


async def test_an_idempotency_key_names_the_delivery(here: Edge) -> None:
    token = await here.asked()
    key = {"Idempotency-Key": "~" * 255}
    await here.post(token, 1, headers=key)

    assert (await here.post(token, 1, headers=key)).json()["duplicate"] is True
    problem(await here.post(token, 2, headers=key), 422, "ikey-reused")
    problem(await here.post(token, 1), 409, "already-settled")


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "a\tb", "é"])
async def test_an_unusable_idempotency_key_is_refused(here: Edge, key: str) -> None:
    token = await here.asked()

    problem(await here.post(token, 1, headers={b"Idempotency-Key": key.encode()}), 400, "invalid-key")
    assert await untouched(here)


async def test_a_repeated_idempotency_key_is_refused(here: Edge) -> None:
    token = await here.asked()
    headers = [("authorization", f"Bearer {token}"), ("idempotency-key", "a"), ("idempotency-key", "a")]

    problem(await here.client.post("/callbacks", json=1, headers=headers), 400, "invalid-key")
    assert await untouched(here)


async def test_of_a_hundred_equal_deliveries_at_once_one_is_applied(here: Edge) -> None:
    token = await here.asked()
    answers = await asyncio.gather(*(here.post(token, {"n": 1}) for _ in range(100)))

    assert [answer.status_code for answer in answers] == [200] * 100
    assert [answer.json()["duplicate"] for answer in answers].count(False) == 1
    assert len({answer.json()["settled_at"] for answer in answers}) == 1


async def test_of_a_hundred_different_deliveries_at_once_one_is_applied(here: Edge) -> None:
    token = await here.asked()
    posts = (here.post(token, n, headers={"Idempotency-Key": str(n)}) for n in range(100))
    answers = await asyncio.gather(*posts)

    (applied,) = (n for n, answer in enumerate(answers) if answer.status_code == 200)
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 99
    assert (await here.ended())["result"]["value"] == applied


# -- bodies -------------------------------------------------------------------


# -- looking ------------------------------------------------------------------


async def test_looking_says_what_the_callback_is_and_never_settles_it(here: Edge) -> None:
    token = await here.asked()
    bearer = {"Authorization": f"Bearer {token}"}

    seen: dict[str, Any] = {}

    for _ in range(100):
        seen = (await here.client.get(f"/callbacks/{token}")).json()
        assert (seen["callback"], seen["state"]) == ("answer", "pending")
        assert (await here.client.get("/callbacks", headers=bearer)).json() == seen
        assert (await here.client.head(f"/callbacks/{token}")).status_code == 200

    assert await untouched(here)
    await here.post(token, 1)
    assert (await here.client.get(f"/callbacks/{token}")).json() == seen | {"state": "settled"}


async def test_looking_at_a_wait_past_its_deadline_says_expired(here: Edge) -> None:
    token = await here.asked(deadline=1)
    await here.ended()

    assert (await here.client.get(f"/callbacks/{token}")).json()["state"] == "expired"


async def test_looking_with_a_bad_token_is_refused(here: Edge) -> None:
    problem(await here.client.get("/callbacks/nonsense"), 401, "invalid-token")
    problem(await here.client.get("/callbacks"), 401, "invalid-token")


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_another_method_is_refused_and_settles_nothing(here: Edge, method: str) -> None:
    token = await here.asked()
    answer = await here.client.request(method, f"/callbacks/{token}", json=1)

    problem(answer, 405, "method-not-allowed")
    assert set(answer.headers["allow"].split(", ")) >= {"GET", "POST"}
    assert await untouched(here)


async def test_a_failure_can_only_be_posted(here: Edge) -> None:
    answer = await here.client.get("/callbacks/failure", headers={"Authorization": f"Bearer {await here.asked()}"})

    problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("path", ["/callback", "/callbacks/", "/callbacks/a/b", "/nope", "/healthz%0A"])
async def test_anything_else_is_not_found_and_never_redirected(here: Edge, path: str) -> None:
    answer = await here.client.post(path, json=1, headers={"Host": "evil.example"})

    assert answer.status_code in {401, 404}
    assert "location" not in answer.headers
    assert "evil" not in answer.text


# -- an unreachable engine ----------------------------------------------------


async def test_an_engine_that_says_nothing_is_503_in_time_and_nothing_is_lost(tmp_path: Path) -> None:
    async with edge(tmp_path, ENGINE_TIMEOUT="1") as here:
        token = await here.asked()
        connection: Any = here.engine.resonate._network
        ask, connection.ask = connection.ask, silence

        answer = await here.post(token, 1)
        problem(answer, 503, "engine-unavailable")
        assert int(answer.headers["retry-after"]) > 0

        connection.ask = ask
        assert (await here.post(token, 1)).json()["duplicate"] is False


async def test_an_answer_lost_after_settling_is_a_duplicate_when_asked_again(tmp_path: Path) -> None:
    async with edge(tmp_path, ENGINE_TIMEOUT="1") as here:
        token = await here.asked()
        connection: Any = here.engine.resonate._network
        ask = connection.ask

        async def acts_and_says_nothing(request: dict[str, Any]) -> Any:
            answer = await ask(request)
            return answer if request["kind"] == "promise.get" else await silence()

        connection.ask = acts_and_says_nothing
        problem(await here.post(token, 1), 503, "engine-unavailable")
        connection.ask = ask

        assert (await here.post(token, 1)).json()["duplicate"] is True


async def silence(*_: object) -> Any:
    await pause(3600)
