"""Links with something glued to their end lead to the page, and to nothing that the link alone would not lead to."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from support.approving import Desk, desk, forged, seen

from receiver.surfaces.glued_links import without_glue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

GLUE = [
    *(".", ",", ";", ":", "!", ")", "]", "}", "'", "*", "_", "-", "=", "|", ".)", ">.", ')."', "./", "//"),
    *("/", "%3E", "%3e", "%20", "%22", "%27", "%29", "%5D", "%0A", "%0D%0A", "%C2%A0", "%E2%80%9D", "%E2%80%8B"),
    *("%253E", "%2520", "%2F", "&gt;", "%26gt%3B", "&quot;", ">", "%3C"),
]


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path) as one:
        yield one


@pytest.mark.parametrize("glue", GLUE)
async def test_what_a_mail_program_glued_to_a_link_leads_to_the_page(here: Desk, glue: str) -> None:
    link = await here.ask()

    for method in ("GET", "HEAD"):
        answer = await here.client.request(method, f"{link}{glue}")
        assert (answer.status_code, answer.headers["location"]) == (303, link)

    assert "Ship it?" in seen(await here.client.get(link))
    assert await here.state() == "pending"


async def test_the_hint_of_a_glued_link_is_kept_if_it_is_a_decision(here: Desk) -> None:
    link = await here.ask()

    chosen = await here.client.get(f"{link}.?choose=reject")
    other = await here.client.get(f"{link}.?choose=%0d%0aX:1")

    assert [chosen.headers["location"], other.headers["location"]] == [f"{link}?choose=reject", link]


@pytest.mark.parametrize("tail", ["A", ".A", "/A", "/failure", "a.", "%00", "%2541", "." * 65, ". and so on"])
async def test_anything_else_at_the_end_makes_another_link_which_is_not_valid(here: Desk, tail: str) -> None:
    link = await here.ask()

    assert "Ship it?" not in seen(await here.client.get(f"{link}{tail}"), 404)


async def test_a_link_that_is_not_genuine_is_not_valid_with_glue_either(here: Desk) -> None:
    link = await here.ask()
    changed = link[:-1] + ("A" if link[-1] != "A" else "E")

    for bad in (f"{changed}.", f"{changed}/", "/approvals/.", "/approvals/x/", "/approvals/a.b>"):
        seen(await here.client.get(bad), 404)

    # The page says what the link alone says.
    expired = forged(here, link, expires_at=1)
    assert (await here.client.get(f"{expired}>")).headers["location"] == expired


async def test_a_post_with_something_glued_to_its_address_decides_nothing(here: Desk) -> None:
    link = await here.ask()

    assert (await here.post(f"{link}.")).status_code == 404
    assert (await here.post(f"{link}/")).status_code == 405
    assert await here.state() == "pending"


async def test_glued_links_never_slow_down_their_address(here: Desk) -> None:
    link = await here.ask()
    statuses = {(await here.client.get(f"{link}.")).status_code for _ in range(80)}

    assert statuses == {303}


def test_a_long_end_is_looked_at_in_bounded_time() -> None:
    before = time.process_time()

    for text in ("." * 100_000, "%3" * 50_000, "&gt" * 40_000 + ".", "a" * 100_000):
        without_glue(text)

    assert time.process_time() - before < 1
