"""Every page of the console is for somebody who has signed in; other sites cannot make a browser do anything there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from support.approving import desk, seen
from support.configuration import API_KEY
from support.signing_in import Window, signed_in

from orchestrator.errors import EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.approving import Desk

FOREIGN = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:9000"},
]


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path) as one:
        yield one


@pytest.mark.parametrize("headers", FOREIGN)
async def test_no_other_site_signs_anybody_in_or_out(here: Desk, headers: dict[str, str]) -> None:
    window = await signed_in(here.app)
    answer = await window.client.post("/console/sign-out", headers=headers)
    assert "another site" in seen(answer, 403)
    assert "Overview" in seen(await window.get())

    fresh = Window(here.app)
    answer = await fresh.client.post("/console/sign-in", data={"key": API_KEY}, headers=headers)
    assert "another site" in seen(answer, 403)
    assert not fresh.client.cookies


@pytest.mark.parametrize("path", ["/workflows/consult/1", "/workflows/consult/nobody", "/workflows/nope/1"])
async def test_a_stranger_learns_nothing(here: Desk, path: str) -> None:
    await here.ask()
    answer = await Window(here.app).get(path)

    assert "API key" in seen(answer, 401)
    assert "Ship it?" not in answer.text


async def test_a_link_on_another_site_leads_to_the_page_although_the_cookie_is_not_sent_with_it(here: Desk) -> None:
    elsewhere = {"Sec-Fetch-Site": "cross-site"}
    first = await Window(here.app).get("/workflows/consult/1?updates=off", **elsewhere)
    seen(first)

    assert first.headers["refresh"] == "0; url=/console/workflows/consult/1?updates=off&arrived=1"
    again = await Window(here.app).get("/workflows/consult/1?updates=off&arrived=1", **elsewhere)
    assert "API key" in seen(again, 401)
    assert 'name="onward" value="/workflows/consult/1?updates=off"' in again.text


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("/workflows/consult/nobody", 404, "There is no workflow of this id"),
        ("/workflows/a%20b/1", 404, "There is no such workflow"),
        ("/workflows/consult/a%20b", 422, "An id has 1 to 128 characters"),
        ("/workflows/consult/%3Cscript%3Ealert(1)%3C%2Fscript%3E", 422, "An id has 1 to 128 characters"),
    ],
)
async def test_a_refusal_is_a_page(here: Desk, path: str, status: int, told: str) -> None:
    window = await signed_in(here.app)

    assert told in seen(await window.get(path), status)


async def test_an_engine_that_does_not_answer_is_a_page(here: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    window = await signed_in(here.app)

    async def silent(*_: object) -> None:
        raise EngineUnavailable("it did not answer")

    monkeypatch.setattr(here.engine.promises, "get", silent)
    answer = await window.get()

    seen(answer, 503)
    assert answer.headers["retry-after"]
    # A session that could not be checked is not thrown away.
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("call", ["get", "resolve"])
async def test_a_form_that_the_engine_did_not_answer_can_be_sent_again_as_it_was(
    here: Desk, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    await here.ask()
    window = await signed_in(here.app)
    form = await window.get("/workflows/consult/1/steps/1/answer")
    given = {"outcome": "reject", "body": "Wait <b>for</b> spring.", "reason": "Ada is on holiday."}

    async def silent(*_: object) -> None:
        raise EngineUnavailable("it did not answer")

    with monkeypatch.context() as away:
        away.setattr(here.engine.promises, call, silent)
        lost = await window.send(form, "Record this answer", **given)

    assert "perhaps nothing was done" in seen(lost, 503)
    assert lost.headers["retry-after"]
    again = await window.send(lost, "Try again")
    assert again.headers["location"] == "/console/workflows/consult/1/steps/1?done=answered"
    page = seen(await window.get("/workflows/consult/1/steps/1"))
    assert all(text in page for text in (given["body"], given["reason"]))


async def test_all_links_are_right_below_a_path(tmp_path: Path) -> None:
    async with desk(tmp_path, PUBLIC_URL="http://127.0.0.1:8000/calls") as here:
        window = Window(here.app)
        asked = await window.get()
        assert 'action="/calls/console/sign-in"' in asked.text

        answer = await window.sign_in()
        assert answer.headers["location"] == "/calls/console"
        assert "Path=/calls/console" in answer.headers["set-cookie"]


async def test_times_are_in_the_zone_that_the_reader_chose(here: Desk) -> None:
    await here.ask()
    window = await signed_in(here.app)
    assert "Times are in UTC" in (await window.get("/workflows/consult/1")).text

    form = await window.get("/zone")
    assert "no such zone" in seen(await window.send(form, "Use this zone", zone="Mars/Olympus"), 422)
    chosen = await window.send(form, "Use this zone", zone="Asia/Kolkata")
    assert (chosen.status_code, chosen.headers["location"]) == (303, "/console")
    assert "Asia/Kolkata" in chosen.headers["set-cookie"]

    page = await window.get("/workflows/consult/1")
    assert "Times are in Asia/Kolkata" in page.text
    assert re.search(r'datetime="[^"]*Z" title="[^"]* IST"', page.text)


@pytest.mark.parametrize("zone", ["../../etc/passwd", "Nowhere/Else", "x" * 5000, ""])
async def test_a_zone_that_nobody_knows_is_utc(here: Desk, zone: str) -> None:
    await here.ask()
    window = await signed_in(here.app)
    window.client.cookies.set("countersign-zone", zone)

    assert "Times are in UTC" in (await window.get("/workflows/consult/1")).text
