"""The lists of the console: what waits for whom, what failed and what runs, with filters, pages and a search."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import pytest
from support.approving import ADA, BOB, CAT, consult, desk, seen
from support.edge import AUTHORISED, Edge, edge
from support.signing_in import signed_in

from orchestrator.runs.roots import start_root

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.approving import Desk


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path) as one:
        yield one


@pytest.fixture
async def machines(tmp_path: Path) -> AsyncIterator[Edge]:
    async with edge(tmp_path) as one:
        yield one


def links(page: str) -> list[str]:
    return re.findall(r'href="([^"]*)"', page)


async def test_the_overview_says_what_waits_for_whom_what_failed_and_what_runs(machines: Edge) -> None:
    await machines.asked("open-1", name="bank")
    await machines.client.put("/workflows/ask/broken-1", json={"breaks": "x"}, headers=AUTHORISED)
    await machines.ended("broken-1")
    page = await (await signed_in(machines.app)).get()
    text = seen(page)
    waiting, failed, running = re.split("Failed|Running", text.partition("Waiting")[2])[:3]

    assert "bank" in waiting
    assert "open-1" in waiting
    assert "broken-1" in failed
    assert "open-1" in running
    assert "broken-1" not in running
    assert {"/console/workflows/ask/open-1", "/console/workflows/ask/open-1/steps/1"} <= set(links(page.text))
    assert page.headers["refresh"] == "30"


async def test_nothing_at_all_is_said_in_words(here: Desk) -> None:
    text = seen(await (await signed_in(here.app)).get())

    assert "Nothing waits for anybody. " in text
    assert "Nothing has failed." in text
    assert "Nothing is running." in text


async def test_the_waits_of_a_person_are_found_among_others(here: Desk) -> None:
    await here.ask("1", people=[ADA], title="For Ada")
    await here.ask("2", people=[BOB, CAT], title="For <Bob> & Cat")
    window = await signed_in(here.app)

    assert "For Ada" in seen(await window.get("/waits"))
    bobs = seen(await window.get(f"/waits?person={BOB}&workflow=&audience=approver"))
    assert f"For <Bob> & Cat consult 2 {BOB} and {CAT}" in bobs
    assert "For Ada" not in bobs
    assert "Nothing waits." in seen(await window.get("/waits?audience=machine"))
    assert "Nothing waits." in seen(await window.get("/waits?person=nobody@example.org"))


async def test_the_search_leads_to_a_run_or_to_what_waits_for_a_person(here: Desk) -> None:
    await here.ask("eu:4711")
    window = await signed_in(here.app)
    run = "/console/workflows/consult/eu%3A4711"

    for text in ("eu:4711", "consult.eu:4711", " eu:4711 ", "consult.eu;4711:1"):
        assert (await window.client.get("/console/find", params={"q": text})).headers["location"] == run

    person = await window.client.get("/console/find", params={"q": ADA})
    assert person.headers["location"] == "/console/waits?person=ada%40example.org"

    for text in ("nothing", "<script>alert(1)</script>", "a" * 300, "consult.", ".", ":", "consult.eu/4711"):
        answer = await window.client.get("/console/find", params={"q": text})
        assert "Nothing was found" in seen(answer)

    assert "The id of a workflow" in seen(await window.get("/find"))


async def test_an_id_of_two_workflows_leads_to_a_choice(here: Desk) -> None:
    await here.ask("7")
    await start_root(
        here.engine, name="approve_and_ship", workflow_id="7", text="{}", group="default", timeout=consult.timeout
    )
    page = await (await signed_in(here.app)).get("/find?q=7")

    assert "Found" in seen(page)
    assert {"/console/workflows/consult/7", "/console/workflows/approve_and_ship/7"} <= set(links(page.text))


async def test_a_walk_through_the_pages_shows_every_run_once(machines: Edge) -> None:
    ids = [f"run-{number:03}" for number in range(120)]
    await asyncio.gather(*(machines.asked(each) for each in ids))
    window = await signed_in(machines.app)
    path: str | None = "/workflows?name=ask&state=running&since=2020-01-01&until="
    shown: list[str] = []
    pages = 0

    while path is not None:
        page = await window.get(path)
        seen(page)
        shown += re.findall(r'<small class="mono">(run-\d+)</small>', page.text)
        found = re.search(r'<a href="([^"]*)" rel="next">', page.text)
        path = f"/workflows{found[1]}".replace("&amp;", "&") if found else None
        pages += 1

    assert sorted(shown) == ids
    assert pages == 3


@pytest.mark.parametrize(
    "query",
    [
        *("workflows?state=walking", "workflows?name=a%20b", "workflows?since=yesterday", "workflows?until=2026-02-31"),
        *("workflows?cursor=x", "workflows?since=0001-01-01&name=a%20b", "waits?audience=people", "waits?workflow=a.b"),
        *("workflows?state=failed&state=running", "workflows?name=ask&name=ask", "waits?person=a&person=a"),
        *("workflows?name=" + "x" * 500, "waits?person=" + "x" * 500, "find?q=" + "x" * 500),
    ],
)
async def test_what_is_no_filter_is_refused_on_a_page(here: Desk, query: str) -> None:
    seen(await (await signed_in(here.app)).get(f"/{query}"), 400)


@pytest.mark.parametrize("query", ["since=9999-12-31&until=9999-12-31", "since=0001-01-01"])
async def test_the_first_and_the_last_day_there_is_break_nothing(here: Desk, query: str) -> None:
    answer = await (await signed_in(here.app)).get(f"/workflows?{query}")

    assert answer.status_code in {200, 400}
    seen(answer, answer.status_code)


async def test_a_cursor_is_good_for_its_own_list_only(machines: Edge) -> None:
    await asyncio.gather(*(machines.asked(str(each)) for each in range(60)))
    window = await signed_in(machines.app)
    found = re.search(r"cursor=([\w-]+)", (await window.get("/workflows")).text)
    assert found

    assert (await window.get(f"/workflows?cursor={found[1]}")).status_code == 200
    assert "belongs to another list" in seen(await window.get(f"/workflows?state=failed&cursor={found[1]}"), 400)
    assert "belongs to another list" in seen(await window.get(f"/waits?cursor={found[1]}"), 400)
