"""Machine callbacks over HTTP: what each caller is told, and what is settled by it.

Long because the surface has many statuses, and each has its cases.
"""

from __future__ import annotations

import asyncio
import base64
import pickle
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from support.edge import Edge, edge, minted, problem
from support.plant import pause

from orchestrator.callbacks.tokens import TokenSigner
from orchestrator.config.secret import Secret

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Edge]:
    async with edge(tmp_path) as one:
        yield one


async def untouched(here: Edge, workflow_id: str = "1") -> bool:
    return (await here.engine.promises.get(f"ask.{workflow_id}:1")).state == "pending"


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


# -- tokens -------------------------------------------------------------------


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


# -- bodies -------------------------------------------------------------------

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" ",
        b"{",
        b"nope",
        b"1 2",
        b"\xff",
        b"\xef\xbb\xbf1",
        '{"a": 1, "a": 1}',
        "NaN",
        "[Infinity]",
        "-1e999",
        '"\\ud800"',
        '{"\\udfff": 1}',
        "[" * 10_000 + "]" * 10_000,
        "1" * 10_000,
    ],
)
async def test_what_is_not_strict_json_is_refused(here: Edge, content: str | bytes) -> None:
    token = await here.asked()

    problem(await here.client.post(f"/callbacks/{token}", content=content, headers=JSON), 400, "malformed-body")
    assert await untouched(here)


@pytest.mark.parametrize(
    "body", [None, [], "x", {}, {"message": 1}, {"message": None}, {"details": 1}, {"message": "x", "more": 1}]
)
async def test_a_failure_of_another_shape_is_refused(here: Edge, body: object) -> None:
    token = await here.asked()

    problem(await here.post(token, body, path="/callbacks/failure"), 400, "malformed-body")
    assert await untouched(here)


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json; charset=utf-16"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
)
async def test_another_media_type_is_refused(here: Edge, headers: dict[str, str]) -> None:
    token = await here.asked()

    answer = await here.client.post(f"/callbacks/{token}", content="1", headers=headers)
    problem(answer, 415, "unsupported-media-type")
    assert await untouched(here)


async def test_a_body_over_the_limit_is_refused_and_one_at_the_limit_is_not(here: Edge) -> None:
    token = await here.asked()

    problem(await here.post(token, "x" * 65_535), 413, "too-large")
    assert await untouched(here)
    assert (await here.post(token, "x" * 65_534)).status_code == 200


async def test_the_limit_holds_for_a_body_that_nobody_reads(here: Edge) -> None:
    token = await here.asked()
    answer = await here.client.request("GET", f"/callbacks/{token}", content="x" * 70_000)

    problem(answer, 413, "too-large")


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.exit, ("a payload was unpickled",))


@pytest.mark.parametrize("path", ["/callbacks", "/callbacks/failure"])
async def test_a_pickle_in_a_body_is_plain_data_to_the_workflow(here: Edge, path: str) -> None:
    payload = base64.b64encode(pickle.dumps(Bomb())).decode()
    bomb = {"__type": "error", "message": "x", "__py_pickle": payload}
    body = bomb if path == "/callbacks" else {"message": "x", "details": bomb}
    token = await here.asked()

    assert (await here.post(token, body, path=path)).status_code == 200
    assert (await here.ended())["result"]["value"] == body


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


@pytest.mark.parametrize("path", ["/", "/callback", "/callbacks/", "/callbacks/a/b", "/nope", "/healthz%0A"])
async def test_anything_else_is_not_found_and_never_redirected(here: Edge, path: str) -> None:
    answer = await here.client.post(path, json=1, headers={"Host": "evil.example"})

    assert answer.status_code in {401, 404}
    assert "location" not in answer.headers
    assert "evil" not in answer.text


# -- the engine away ----------------------------------------------------------


async def test_an_engine_that_says_nothing_is_503_in_time_and_nothing_is_lost(tmp_path: Path) -> None:
    async with edge(tmp_path, ENGINE_TIMEOUT="1") as here:
        token = await here.asked()
        sender = here.engine.resonate.promises.sender
        send, sender.transport.send = sender.transport.send, silence  # type: ignore[assignment,method-assign]

        answer = await here.post(token, 1)
        problem(answer, 503, "engine-unavailable")
        assert int(answer.headers["retry-after"]) > 0

        sender.transport.send = send  # type: ignore[method-assign]
        assert (await here.post(token, 1)).json()["duplicate"] is False


async def test_an_answer_lost_after_settling_is_a_duplicate_when_asked_again(tmp_path: Path) -> None:
    async with edge(tmp_path, ENGINE_TIMEOUT="1") as here:
        token = await here.asked()
        transport = here.engine.resonate.promises.sender.transport
        send = transport.send

        async def acts_and_says_nothing(kind: str, *request: Any) -> Any:
            answer = await send(kind, *request)
            return answer if kind == "promise.get" else await silence()

        transport.send = acts_and_says_nothing  # type: ignore[assignment,method-assign]
        problem(await here.post(token, 1), 503, "engine-unavailable")
        transport.send = send  # type: ignore[method-assign]

        assert (await here.post(token, 1)).json()["duplicate"] is True


async def silence(*_: object) -> Any:
    await pause(3600)
