"""The page of a run in the console tells its story first, then everything that is known of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from support.approving import ADA, BOB, desk, seen
from support.configuration import API_KEY
from support.edge import Question, edge, get, put
from support.plant import pause
from support.signing_in import KEYS, key_setting, signed_in

from orchestrator import Context, open_callback, workflow
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

    for reason in ("  ", "x" * 2001):
        refused = await window.send(form, "Cancel the run", reason=reason)
        assert "A reason is needed, of 1 to 2000 characters." in seen(refused, 422)

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


async def test_a_run_that_is_over_is_not_noted_as_cancelled(here: Desk) -> None:
    await here.post(await here.ask())
    await here.ended()
    answer = await here.client.delete("/workflows/consult/1", headers={"Authorization": f"Bearer {API_KEY}"})

    assert answer.json()["state"] == "succeeded"
    assert "Cancelled by" not in seen(await (await signed_in(here.app)).get(RUN))


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


async def test_a_run_that_is_over_is_started_again_once_per_form(here: Desk) -> None:
    await here.post(await here.ask(), "reject")
    await here.ended()
    window = await signed_in(here.app)
    form = await window.get(f"{RUN}/again")
    assert "under a new id" in seen(form)
    assert "A reason is needed" in seen(await window.send(form, "Start it again", reason=""), 422)

    led = [await window.send(form, "Start it again", reason="The prices <are> there.") for _ in range(2)]
    assert led[0].status_code == 303
    assert led[0].headers["location"] == led[1].headers["location"]
    other = await window.send(await window.get(f"{RUN}/again"), "Start it again", reason="Once more.")
    assert other.headers["location"] != led[0].headers["location"]

    text = seen(await window.client.get(led[0].headers["location"]))
    assert "Started again from consult.1 by tests, today at" in text
    assert "The prices <are> there." in text


async def test_starting_again_needs_the_role_to_start(tmp_path: Path) -> None:
    async with desk(tmp_path, API_KEYS=key_setting()) as here:
        await here.post(await here.ask(), "reject")
        await here.ended()

        for name in ("viewer", "nightly"):
            window = await signed_in(here.app, KEYS[name])
            offered = "/again" in (await window.get(RUN)).text
            answer = await window.client.post(f"/console{RUN}/again", data={"reason": "x", "once": "1"})
            assert (offered, answer.status_code) == ((True, 303) if name == "nightly" else (False, 403))


async def test_a_run_of_a_thousand_steps_is_a_page_that_says_what_is_left_out(tmp_path: Path) -> None:
    @workflow(name="long")
    async def long(ctx: Context, _request: Question) -> None:
        for _ in range(1000):
            await ctx.run(nothing)

        await (await open_callback(ctx, "answer"))

    async with edge(tmp_path, workflows=[long]) as here:
        await put(here, "/workflows/long/1", body={})

        while (await get(here, "/workflows/long/1?steps=1&after=long.1:1000")).json()["steps"] == []:
            await pause(0.1)

        window = await signed_in(here.app)
        page = await window.get("/workflows/long/1")
        text = seen(page)
        assert "Waiting for the answer to “answer”" in text
        assert "501 further steps are not shown." in text
        assert 'href="/console/workflows/long/1/steps/1001/answer"' in page.text

        rest = await window.get(f"/workflows/long/1{form_link(page.text, 'after=500')}")
        assert "Show the steps from the first" in seen(rest)
        assert "/steps/1001" in rest.text


async def test_a_question_of_a_megabyte_is_a_page_of_bounded_size(here: Desk) -> None:
    big = "<b>é\u202e" * 200_000
    await here.ask(title=big, text=big, facts=[("a", big[:5000])] * 50)
    window = await signed_in(here.app)

    for path in (RUN, f"{RUN}/steps/1", f"{RUN}/steps/1/answer", "/waits", ""):
        page = await window.get(path)
        seen(page)
        assert len(page.content) < 1_000_000
        assert "<b>" not in page.text


async def nothing(_: Context) -> None:
    pass
