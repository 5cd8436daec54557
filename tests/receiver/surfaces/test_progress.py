"""Progress over HTTP: who may report it, what is refused, and where it is shown."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from support.edge import AUTHORISED, Edge, edge, get, minted, problem, untouched

from receiver.surfaces.progress import HEADER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx2

MARKUP = "<img src=x onerror=alert(1)>"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Edge]:
    async with edge(tmp_path) as one:
        yield one


async def progress_token(here: Edge, token: str) -> str:
    described = await here.client.get("/callbacks", headers={"Authorization": f"Bearer {token}"})
    assert described.status_code == 200

    return described.headers[HEADER]


async def report(here: Edge, token: str, body: Any = None, **options: Any) -> httpx2.Response:
    given = {"fraction": 0.4, "message": "the second table"} if body is None else body

    return await here.post(token, given, path="/callbacks/progress", **options)


async def shown(here: Edge) -> dict[str, Any] | None:
    (first, *_) = (await get(here, "/workflows/ask/1?steps=1")).json()["steps"]

    found: dict[str, Any] | None = first.get("progress")
    return found


async def test_progress_is_shown_while_the_job_runs(here: Edge) -> None:
    token = await progress_token(here, await here.asked())
    assert await shown(here) is None

    answer = await report(here, token)
    assert (answer.status_code, answer.json()) == (200, {"callback": "answer", "next_in": 10.0})

    document = await shown(here)
    assert document is not None
    assert document.pop("at").endswith("Z")
    assert document == {"fraction": 0.4, "message": "the second table"}
    page = await get(here, "/workflows/ask/1", Accept="text/html")
    assert "40 %: the second table" in page.text
    assert await untouched(here)


async def test_a_report_that_comes_too_early_changes_nothing(here: Edge) -> None:
    token = await progress_token(here, await here.asked())
    await report(here, token)
    answer = await report(here, token, {"fraction": 0.9})

    assert answer.status_code == 200
    assert 0 < answer.json()["next_in"] <= 10
    assert (await shown(here) or {})["fraction"] == 0.4


async def test_what_a_job_says_is_shown_escaped(here: Edge) -> None:
    token = await progress_token(here, await here.asked())
    await report(here, token, {"message": f"{MARKUP}\x1b[2J" + "x" * 900})
    page = await get(here, "/workflows/ask/1", Accept="text/html")

    assert (await shown(here) or {})["fraction"] is None
    assert "&lt;img src=x" in page.text
    assert "<img" not in page.text
    assert "x" * 201 not in page.text
    assert "\x1b" not in page.text


async def test_a_progress_token_can_do_nothing_else(here: Edge) -> None:
    token = await progress_token(here, await here.asked())

    for path in ("/callbacks", "/callbacks/failure"):
        problem(await here.post(token, {"message": "x"}, path=path), 401, "invalid-token")

    problem(await here.client.post(f"/callbacks/{token}", json=1), 401, "invalid-token")
    problem(await here.client.get("/callbacks", headers={"Authorization": f"Bearer {token}"}), 401, "invalid-token")
    assert (await here.client.get(f"/approvals/{token}")).status_code == 404
    assert await untouched(here)


async def test_no_other_token_reports_progress(here: Edge) -> None:
    token = await here.asked()
    own = await progress_token(here, token)

    for other in (token, own[:-1], f"{own}A", own.replace(".", "..")):
        problem(await report(here, other), 401, "invalid-token")

    problem(await here.client.post("/callbacks/progress", json={}), 401, "invalid-token")
    basic = await here.client.post("/callbacks/progress", json={}, headers={"Authorization": "Basic YTpi"})
    problem(basic, 401, "invalid-token")
    assert await shown(here) is None


async def test_guesses_are_limited_and_counted(here: Edge) -> None:
    statuses = [(await report(here, f"{number}")).status_code for number in range(61)]

    assert statuses == [401] * 60 + [429]
    metrics = (await here.client.get("/metrics", headers=AUTHORISED)).text
    assert 'countersign_callbacks_total{outcome="refused"} 61.0' in metrics


async def test_a_token_that_is_over_or_of_an_earlier_wait_is_expired(here: Edge) -> None:
    own = await progress_token(here, await here.asked())
    signer = minted(here).signer
    claims = signer.verify(own, audience="progress")
    assert claims.outcomes == ()
    others: list[dict[str, Any]] = [{"opened_at": 1}, {"expires_at": 1}, {"expires_at": 1, "promise_id": "ask.2:1"}]

    for other in others:
        problem(await report(here, signer.mint(replace(claims, **other))), 410, "expired")

    assert await shown(here) is None
    assert (await report(here, signer.mint(claims))).status_code == 200


async def test_a_progress_token_is_for_one_wait(here: Edge) -> None:
    token = await progress_token(here, await here.asked())
    await here.asked("2")
    await report(here, token)
    (other, *_) = (await get(here, "/workflows/ask/2?steps=1")).json()["steps"]

    assert "progress" not in other


async def test_it_ends_with_the_wait(here: Edge) -> None:
    callback = await here.asked()
    token = await progress_token(here, callback)
    await report(here, token)
    await here.post(callback, 1)

    problem(await report(here, token), 410, "expired")
    described = await here.client.get("/callbacks", headers={"Authorization": f"Bearer {callback}"})
    assert HEADER not in described.headers
    await here.ended()
    assert await shown(here) is None


@pytest.mark.parametrize(
    "body",
    [
        [],
        "half",
        {"fraction": 1.1},
        {"fraction": -0.1},
        {"fraction": "0.4"},
        {"fraction": True},
        {"message": 4},
        {"message": None},
        {"fraction": 0.4, "outcome": "succeeded"},
    ],
)
async def test_a_report_of_another_shape_is_refused(here: Edge, body: object) -> None:
    token = await progress_token(here, await here.asked())

    problem(await report(here, token, body), 400, "malformed-body")
    assert await shown(here) is None


async def test_a_long_report_is_refused(here: Edge) -> None:
    token = await progress_token(here, await here.asked())

    problem(await report(here, token, {"message": "x" * 5_000}), 413, "too-large")


async def test_only_post_is_allowed(here: Edge) -> None:
    answer = await here.client.get("/callbacks/progress")

    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
