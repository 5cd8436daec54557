"""The page of a run in the console tells its story first, then everything that is known of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.approving import ADA, BOB, desk, seen
from support.configuration import API_KEY
from support.signing_in import signed_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.approving import Desk

RUN = "/workflows/consult/1"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path) as one:
        yield one


async def test_an_open_question_is_the_story(here: Desk) -> None:
    await here.ask(people=[ADA, BOB])
    window = await signed_in(here.app)
    page = await window.get(RUN)
    text = seen(page)

    assert f"Waiting for {ADA} and {BOB} since today at" in text
    assert f"asks {ADA} and {BOB}: “Ship it?”" in text
    assert page.headers["refresh"] == "10"
    assert 'rect class="run open waiting"' in page.text


async def test_the_updates_can_be_paused(here: Desk) -> None:
    await here.ask()
    page = await (await signed_in(here.app)).get(f"{RUN}?updates=off")

    assert "Updates are paused" in page.text
    assert "refresh" not in page.headers


async def test_a_decision_is_shown_with_who_when_comment_and_digest(here: Desk) -> None:
    link = await here.ask()
    await here.post(link, "reject", comment="Not before <Monday>.")
    step, *_ = (await here.ended(steps=True))["steps"]
    page = await (await signed_in(here.app)).get(RUN)
    text = seen(page)

    assert "Finished after" in text
    assert f"Rejected by {ADA}" in text
    assert "Not before <Monday>." in text
    assert step["approval"]["digest"] in text
    assert "refresh" not in page.headers


async def test_a_browser_without_a_key_is_led_to_the_console_and_one_with_a_key_gets_the_page(here: Desk) -> None:
    await here.ask()
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    led = await here.client.get("/workflows/consult/1", headers=browser)
    assert (led.status_code, led.headers["location"]) == (303, "/console/workflows/consult/1")
    assert led.headers["vary"] == "Accept"

    page = await here.client.get("/workflows/consult/1", headers={**browser, "Authorization": f"Bearer {API_KEY}"})
    assert "Waiting for" in seen(page)
    assert (await here.client.get("/workflows/consult/1")).status_code == 401
    assert (await here.client.get("/workflows/consult/a%20b", headers=browser)).status_code == 401
