"""Refusals: pages for people in a browser, problem documents for everyone else."""

from __future__ import annotations

import html
import re
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from support.approving import Desk, desk, seen
from support.configuration import API_KEY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx2

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
KEY = {"Authorization": f"Bearer {API_KEY}"}
READER = "r" * 40

#: A request, its headers, and what a browser is shown.
REFUSED: list[tuple[str, str, dict[str, str], int, str]] = [
    ("GET", "/nowhere", {}, 404, "There is nothing here"),
    ("GET", "/docs/nowhere", {}, 404, "There is nothing here"),
    ("GET", "/metrics", {}, 401, "A valid API key is needed"),
    ("GET", "/metrics", {"Authorization": "Bearer wrong"}, 401, "A valid API key is needed"),
    ("GET", "/workflows/consult/none", KEY, 404, "There is no workflow of this id"),
    ("GET", "/workflows/none/1", KEY, 404, "There is no such workflow"),
    ("GET", "/workflows/consult/%20", KEY, 422, "This is not a usable id"),
    ("DELETE", "/healthz", {}, 405, "This method is not allowed here"),
    ("POST", "/", {}, 405, "This method is not allowed here"),
    ("GET", "/callbacks/failure", {}, 405, "This method is not allowed here"),
    ("GET", "/callbacks/none", {}, 401, "The token is not valid here"),
    ("DELETE", "/workflows/consult/1", {"Authorization": f"Bearer {READER}"}, 403, "This API key may not do this"),
]


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path) as one:
        yield one


def problem(answer: httpx2.Response, status: int) -> None:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json()["status"] == status


@pytest.mark.parametrize("refused", REFUSED)
async def test_a_browser_gets_a_page_and_everyone_else_a_problem_document(
    tmp_path: Path, refused: tuple[str, str, dict[str, str], int, str]
) -> None:
    method, path, headers, status, title = refused
    keys = f"all:{sha256(API_KEY.encode()).hexdigest()},reader:{sha256(READER.encode()).hexdigest()}:read"

    async with desk(tmp_path, API_KEYS=keys) as here:
        page = await here.client.request(method, path, headers=BROWSER | headers)
        assert title in seen(page, status)

        for accept in (
            {},
            {"Accept": "*/*"},
            {"Accept": "application/json"},
            {"Accept": "application/json, text/html"},
        ):
            other = await here.client.request(method, path, headers=accept | headers)
            problem(other, status)
            assert other.headers["vary"] == page.headers["vary"] == "Accept"
            for name in ("allow", "www-authenticate", "retry-after"):
                assert other.headers.get(name) == page.headers.get(name)


@pytest.mark.parametrize("path", ["/callbacks", "/callbacks/none", "/callbacks/none/failure", "/webhooks/none"])
async def test_what_only_machines_send_gets_a_problem_document_whatever_it_accepts(here: Desk, path: str) -> None:
    answer = await here.client.post(path, json=1, headers=BROWSER)

    problem(answer, 404 if path.startswith("/webhooks") else 401)
    assert "vary" not in answer.headers


async def test_the_root_leads_to_the_console_wherever_it_is_mounted(tmp_path: Path) -> None:
    async with desk(tmp_path, PUBLIC_URL="https://example.org/sub") as here:
        for headers in ({}, BROWSER, {"Host": "evil.example"}):
            answer = await here.client.get("/", headers=headers)
            assert (answer.status_code, answer.headers["location"]) == (303, "/sub/console")

        here.client._transport.app = Starlette(routes=[Mount("/sub", here.app)])  # type: ignore[attr-defined]
        assert (await here.client.get("/sub/")).headers["location"] == "/sub/console"
        page = await here.client.get("/sub/nowhere", headers=BROWSER)
        assert 'href="/sub/console"' in page.text
        seen(page, 404)


async def test_nothing_of_the_request_is_on_the_page(here: Desk) -> None:
    for path in ("/<script>alert(1)</script>", "/%3Cscript%3E", "/elsewhere?q=<script>", "/workflows/<b>marked/1"):
        answer = await here.client.get(path, headers=BROWSER | KEY | {"Host": "evil.example"})
        shown = html.unescape(answer.text)

        seen(answer, 404)
        for word in ("<script", "alert", "elsewhere", "marked", "evil"):
            assert word not in shown


async def test_a_request_that_is_refused_before_any_route_is_a_page_too(here: Desk) -> None:
    many = {f"X-{number}": "x" for number in range(200)}
    answer = await here.client.get("/nowhere", headers=BROWSER | many)

    assert "Too many headers" in seen(answer, 431)
    problem(await here.client.get("/nowhere", headers=many), 431)


async def test_a_page_says_too_when_to_come_back(here: Desk) -> None:
    wrong = BROWSER | {"Authorization": "Bearer wrong"}
    answers = [await here.client.get("/metrics", headers=wrong) for _ in range(61)]

    assert [answer.status_code for answer in answers] == [401] * 60 + [429]
    assert "wait before you try it again" in seen(answers[-1], 429)
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60


async def test_an_address_that_only_begins_like_those_of_machines_or_approvals_is_neither(here: Desk) -> None:
    assert "There is nothing here" in seen(await here.client.post("/callbacksx", json=1, headers=BROWSER), 404)
    problem(await here.client.get("/approvalsx"), 404)


async def test_the_page_of_a_missing_key_leads_to_the_sign_in_and_names_its_status(here: Desk) -> None:
    answer = await here.client.get("/metrics", headers=BROWSER)

    assert re.search(r'<a href="/console">Sign in to the console</a>', answer.text)
    assert "401 unauthorized" in seen(answer, 401)
