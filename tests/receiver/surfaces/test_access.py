"""Access over HTTP: what each role may do, what the log says about it, and how wrong guesses are limited."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx2
import pytest
from support.edge import Edge, edge, problem
from support.senders import SIGNED, senders, sources_file

from orchestrator.errors import EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from conftest import Start

KEYS = {name: secrets.token_urlsafe(32) for name in ("viewer", "nightly", "admin", "old")}
ROLES = {"viewer": ":read", "nightly": ":start", "admin": ":operate", "old": ""}
MAY = {"viewer": {"GET", "HEAD"}, "nightly": {"GET", "HEAD", "PUT"}, "admin": {"GET", "HEAD", "PUT", "DELETE"}}
MAY["old"] = MAY["admin"]
SPEC = ",".join(f"{name}:{hashlib.sha256(key.encode()).hexdigest()}{ROLES[name]}" for name, key in KEYS.items())
CLIENT = "203.0.113.9"


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {KEYS[name]}"}


def from_address(here: Edge, address: str | None) -> httpx2.AsyncClient:
    """Return a client with that address."""
    transport = httpx2.ASGITransport(app=here.app, client=None if address is None else (address, 4711))  # type: ignore[arg-type]

    return httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000")


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Edge]:
    async with edge(tmp_path, API_KEYS=SPEC) as one:
        yield one


# -- roles --------------------------------------------------------------------


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
async def test_a_key_may_do_what_its_role_says_and_nothing_else(here: Edge, name: str, method: str) -> None:
    await here.client.put("/workflows/ask/1", json={}, headers=bearer("admin"))
    content: dict[str, Any] = {"json": {}} if method == "PUT" else {}
    answer = await here.client.request(method, "/workflows/ask/1", headers=bearer(name), **content)

    if method in MAY[name]:
        assert answer.status_code in {200, 202}
        return

    document = problem(answer, 403, "forbidden")
    assert f"your key has the role {ROLES[name].removeprefix(':')}." in document["detail"]
    assert "www-authenticate" not in answer.headers


@pytest.mark.parametrize("path", ["/workflows/nope/1", "/workflows/ask/nope", "/workflows/ask/a:b", "/workflows/ask/1"])
async def test_a_key_without_the_role_learns_nothing_else_and_changes_nothing(here: Edge, path: str) -> None:
    await here.asked()

    problem(await here.client.delete(path, headers=bearer("nightly")), 403, "forbidden")
    problem(await here.client.put(path, content=b"{", headers=bearer("viewer")), 403, "forbidden")
    assert (await here.engine.promises.get("ask.1")).state == "pending"


@pytest.mark.parametrize("name", KEYS)
async def test_every_role_may_read_the_metrics(here: Edge, name: str) -> None:
    assert (await here.client.get("/metrics", headers=bearer(name))).status_code == 200


# -- the log ------------------------------------------------------------------


async def test_the_log_says_who_started_cancelled_and_looked_and_from_where(here: Edge, start: Start) -> None:
    log = start("info")
    client = from_address(here, "127.0.0.1")
    forwarded = {"X-Forwarded-For": f"192.0.2.1, {CLIENT}"}

    for _ in range(2):
        await client.put("/workflows/ask/nightly-2026", json={}, headers=bearer("nightly") | forwarded)

    await client.get("/workflows/ask/nightly-2026", headers=bearer("viewer") | forwarded)
    await client.delete("/workflows/ask/nightly-2026", headers=bearer("nightly") | forwarded)
    await client.delete("/workflows/ask/nightly-2026", headers=bearer("admin") | forwarded)
    await client.get("/workflows/ask/nightly-2026", headers=forwarded)
    lines = [line.partition(" INFO ")[2] for line in log.getvalue().splitlines()]

    assert [line for line in lines if line.startswith("receiver.surfaces.workflows ")] == [
        f"receiver.surfaces.workflows ask.nightly-2026 started by=nightly client={CLIENT}",
        f"receiver.surfaces.workflows ask.nightly-2026 cancelled by=admin client={CLIENT}",
    ]
    shown = [line.split("ms ")[1] for line in lines if line.startswith("receiver.access ")]
    assert shown == [
        *[f"by={name} client={CLIENT}" for name in ("nightly", "nightly", "viewer", "nightly", "admin")],
        f"client={CLIENT}",
    ]
    assert not any(key in log.getvalue() for key in KEYS.values())


async def test_a_cancel_that_cancels_nothing_is_not_logged_as_one(here: Edge, start: Start) -> None:
    await here.post(await here.asked(), 1)
    await here.client.get("/workflows/ask/1", headers=bearer("viewer") | {"Prefer": "wait=20"})
    log = start("info")

    assert (await here.client.delete("/workflows/ask/1", headers=bearer("admin"))).status_code == 202
    problem(await here.client.delete("/workflows/ask/2", headers=bearer("admin")), 404, "unknown-id")
    assert "cancelled" not in log.getvalue()
    assert log.getvalue().count(" by=admin ") == 2


@pytest.mark.parametrize(("call", "method"), [("create", "PUT"), ("resolve", "DELETE")])
async def test_an_action_whose_confirmation_was_lost_is_logged_with_maybe(
    here: Edge, start: Start, monkeypatch: pytest.MonkeyPatch, call: str, method: str
) -> None:
    deed = {"PUT": "started", "DELETE": "cancelled"}[method]

    if method == "DELETE":
        await here.asked()

    original = getattr(here.engine.promises, call)
    content: dict[str, Any] = {"json": {}} if method == "PUT" else {}

    async def loses_the_answer(*args: Any, **kwargs: Any) -> None:
        await original(*args, **kwargs)
        raise EngineUnavailable("it did not answer")

    log = start("info")

    with monkeypatch.context() as patch:
        patch.setattr(here.engine.promises, call, loses_the_answer)
        answer = await here.client.request(method, "/workflows/ask/1", headers=bearer("admin"), **content)
        problem(answer, 503, "engine-unavailable")

    assert f" ask.1 maybe {deed} by=admin client=127.0.0.1\n" in log.getvalue()
    again = await here.client.request(method, "/workflows/ask/1", headers=bearer("admin"), **content)
    assert again.json().get("created") is (False if method == "PUT" else None)


async def test_nothing_that_a_stranger_sends_gets_into_the_log(here: Edge, start: Start) -> None:
    log = start("debug")
    hostile = "x by=admin client=192.0.2.1\x1b[31m"
    client = from_address(here, "127.0.0.1")
    await client.put("/workflows/ask/a%0Astarted%20by=root", json={}, headers=bearer("nightly"))
    await client.put(f"/workflows/{quote(hostile)}/1", json={}, headers=bearer("nightly"))
    await client.get("/workflows/ask/1", headers={"Authorization": f"Bearer {hostile}"})
    await client.get(
        "/workflows/ask/1", headers=[(b"X-Forwarded-For", hostile.encode()), (b"X-Forwarded-For", b"\xe9,")]
    )

    assert "root" not in log.getvalue()
    assert "\x1b" not in log.getvalue()
    assert "x1b" not in log.getvalue()
    assert "192.0.2.1" not in log.getvalue()
    assert all(line.endswith(" client=127.0.0.1") for line in log.getvalue().splitlines())


async def test_without_a_peer_s_address_everything_works_and_the_log_says_so(here: Edge, start: Start) -> None:
    log = start("info")
    client = from_address(here, None)
    headers = {"X-Forwarded-For": CLIENT}

    assert (await client.put("/workflows/ask/1", json={}, headers=bearer("nightly") | headers)).status_code == 201
    assert [await wrong(client) for _ in range(61)] == [401] * 60 + [429]
    assert " started by=nightly client=-\n" in log.getvalue()
    assert CLIENT not in log.getvalue()


async def test_a_workflow_that_a_delivery_starts_is_logged_with_its_source(tmp_path: Path, start: Start) -> None:
    known = senders()
    lines = 'workflow = "ask"\ninput = "question"'

    async with edge(tmp_path, SOURCES=sources_file(tmp_path, known, lines)) as here:
        log = start("info")
        body = json.dumps({"id": "d1", "question": {}})
        headers = known["github"].sign(body) | {"X-Forwarded-For": CLIENT}
        started = [await here.client.post("/webhooks/github", content=body, headers=headers) for _ in range(2)]

    assert [answer.json()["created"] for answer in started] == [True, False]
    assert log.getvalue().count(f" ask.{started[0].json()['id']} started by=webhook:github client={CLIENT}\n") == 1


# -- limits -------------------------------------------------------------------


async def wrong(client: httpx2.AsyncClient, path: str = "/workflows/ask/1", method: str = "GET") -> int:
    answer = await client.request(method, path, headers={"Authorization": f"Bearer {secrets.token_urlsafe(32)}"})

    if answer.status_code == 429:
        problem(answer, 429, "rate-limited")
        assert 1 <= int(answer.headers["retry-after"]) <= 60

    return answer.status_code


async def test_wrong_api_keys_are_limited_on_every_path_together_and_right_ones_never(here: Edge) -> None:
    client = from_address(here, CLIENT)
    ways = [("GET", "/workflows/ask/1"), ("PUT", "/workflows/ask/1"), ("DELETE", "/workflows/a/1"), ("GET", "/metrics")]

    assert [await wrong(client, path, method) for method, path in ways * 15] == [401] * 60
    assert [await wrong(client, path, method) for method, path in ways] == [429] * 4

    for _ in range(100):
        assert (await client.get("/metrics", headers=bearer("viewer"))).status_code == 200

    # Another address, and another kind of guess, have counters of their own.
    assert await wrong(from_address(here, "203.0.113.10")) == 401
    assert (await client.get("/callbacks/bad")).status_code == 401


async def test_right_keys_are_not_counted_and_neither_is_a_request_without_any(here: Edge) -> None:
    client = from_address(here, CLIENT)

    for _ in range(100):
        assert (await client.get("/workflows/ask/1", headers=bearer("admin"))).status_code == 404
        problem(await client.delete("/workflows/ask/1", headers=bearer("viewer")), 403, "forbidden")
        problem(await client.get("/workflows/ask/1"), 401, "unauthorized")

    assert [await wrong(client) for _ in range(61)] == [401] * 60 + [429]
    problem(await client.get("/workflows/ask/1"), 401, "unauthorized")


@pytest.mark.parametrize(
    "headers", [{"Authorization": ""}, {"Authorization": "Bearer "}, {"Authorization": "Basic YTpi"}]
)
async def test_a_malformed_key_counts_as_a_wrong_one(here: Edge, headers: dict[str, str]) -> None:
    told = [(await here.client.get("/metrics", headers=headers)).status_code for _ in range(61)]

    assert told == [401] * 60 + [429]


async def test_without_any_key_configured_guesses_are_limited_too(tmp_path: Path) -> None:
    async with edge(tmp_path, API_KEYS=None) as here:
        assert [await wrong(here.client) for _ in range(61)] == [401] * 60 + [429]


async def test_a_flood_of_wrong_keys_does_not_fill_the_log(here: Edge, start: Start) -> None:
    log = start("info")

    for _ in range(200):
        await wrong(here.client)

    assert len(log.getvalue().splitlines()) == 60


@pytest.mark.parametrize("name", [*SIGNED, "databricks"])
async def test_wrong_signatures_are_limited_by_source_and_address_and_right_ones_never(
    tmp_path: Path, start: Start, name: str
) -> None:
    known = senders()

    async with edge(tmp_path, SOURCES=sources_file(tmp_path, known)) as here:
        log = start("info")
        client = from_address(here, CLIENT)
        body = json.dumps({"id": "d1", "run": {"run_id": 7}})
        genuine = known[name].sign(body)
        forged = {header: value[:-3] + "xyz" for header, value in genuine.items()}

        async def deliver(headers: Any, source: str = name, sender: Any = client) -> int:
            answer = await sender.post(f"/webhooks/{source}", content=body, headers=headers)
            return int(answer.status_code)

        refused = [await deliver(forged) for _ in range(60)]
        assert set(refused) <= {400, 401}
        assert [await deliver(headers) for headers in (forged, {}, forged)] == [429] * 3
        assert len(log.getvalue().splitlines()) == 2 * 60

        # A genuine delivery is parsed: without a token it gets 400, and a hint from Databricks is accepted.
        assert {await deliver(genuine) for _ in range(70)} == {200 if name == "databricks" else 400}
        assert await deliver({}, "stripe" if name != "stripe" else "github") in {400, 401}
        assert await deliver(forged, sender=from_address(here, "203.0.113.10")) in {400, 401}


async def test_wrong_proofs_are_limited(tmp_path: Path) -> None:
    async with edge(tmp_path, CALLER_SECRETS=f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}") as here:
        token = await here.asked()
        told = [(await here.post(token, 1)).status_code for _ in range(62)]

        assert told == [401] * 60 + [429] * 2
        assert (await here.client.get(f"/callbacks/{token}")).json()["state"] == "pending"
        # Bad tokens have a counter of their own.
        problem(await here.post("bad", 1), 401, "invalid-token")
