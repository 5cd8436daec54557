"""The page of a run in the console tells its story first, then everything that is known of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from support.approving import ADA, BOB, desk, seen
from support.configuration import API_KEY
from support.signing_in import signed_in

from orchestrator.approvals.reminded import note_reminder

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


async def test_an_operator_cancels_a_run_and_says_why(here: Desk) -> None:
    await here.ask()
    window = await signed_in(here.app)
    assert f'href="/console{RUN}/cancel"' in (await window.get(RUN)).text

    form = await window.get(f"{RUN}/cancel")
    assert "This cannot be undone." in seen(form)
    refused = await window.send(form, "Cancel the run", reason="  ")
    assert "A reason is needed" in seen(refused, 422)
    assert await here.state() == "pending"

    led = await window.send(form, "Cancel the run", reason="The order <42> was withdrawn.")
    assert led.headers["location"] == f"/console{RUN}?done=cancelled"
    await here.ended()
    # The form is sent again, from a second window say: nothing else happens.
    assert (await window.send(form, "Cancel the run", reason="another")).headers["location"] == f"/console{RUN}"

    text = seen(await window.client.get(led.headers["location"]))
    assert "Cancelled by tests, today at" in text
    assert "The order <42> was withdrawn." in text
    assert "another" not in text
    assert "/cancel" not in text
    assert (await window.get(f"{RUN}/cancel")).headers["location"] == f"/console{RUN}"


async def test_a_cancel_over_the_api_is_noted_too(here: Desk) -> None:
    await here.ask()
    await here.client.delete("/workflows/consult/1", headers={"Authorization": f"Bearer {API_KEY}"})

    assert "Cancelled by tests, today at" in seen(await (await signed_in(here.app)).get(RUN))


async def test_an_id_that_looks_like_anything_is_shown_as_it_is(here: Desk) -> None:
    odd = "a:b@c+d-_.e"
    await here.ask(odd)
    window = await signed_in(here.app)
    page = await window.get("/workflows/consult/a%3Ab%40c%2Bd-_.e")

    assert odd in seen(page)
    cancel = form_link(page.text, "/cancel")
    assert cancel == "/console/workflows/consult/a%3Ab%40c%2Bd-_.e/cancel"
    assert "Cancel this run?" in seen(await window.client.get(cancel))


def form_link(page: str, end: str) -> str:
    links: list[str] = re.findall(r'href="([^"]*)"', page)

    return next(link for link in links if link.endswith(end))


async def test_the_story_says_how_often_people_were_reminded(here: Desk) -> None:
    await here.ask()
    promises = here.engine.promises
    window = await signed_in(here.app)

    for number, told in ((1, "; reminded once."), (2, "; reminded twice."), (3, "; reminded 3 times.")):
        await note_reminder(promises, await promises.get("consult.1:1"), number)

        for path in (RUN, f"{RUN}/steps/1"):
            assert told in seen(await window.get(path))
