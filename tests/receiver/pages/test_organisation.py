"""The organisation's name is on every page, as text and never as markup."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

import pytest
from support.approving import Desk, desk
from support.configuration import API_KEY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

NAME = 'Müller & Söhne <b>"GmbH"</b> {{ 7 * 7 }} \''
PAGE = {"Accept": "text/html", "Authorization": f"Bearer {API_KEY}"}


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path, NAME=NAME) as one:
        yield one


def shown(page: str) -> str:
    """Return the name in the page's header, as a browser shows it."""
    text = page.partition("<bdi>")[2].partition("</bdi>")[0]
    assert "<" not in text

    return html.unescape(text)


async def test_every_page_names_the_organisation(here: Desk) -> None:
    link = await here.ask()
    asked = await here.client.get(link)
    wrong = await here.post(link, "postpone")
    decided = await here.client.get((await here.post(link)).headers["location"])
    other = await here.post(link, "reject")
    unknown = await here.client.get("/approvals/unknown")
    method = await here.client.put(link)
    too_many = await here.client.get(link, headers={f"X-{n}": "x" for n in range(200)})
    timeline = await here.client.get("/workflows/consult/1", headers=PAGE)

    answers = [asked, wrong, decided, other, unknown, method, too_many, timeline]
    assert [answer.status_code for answer in answers] == [200, 400, 200, 409, 404, 405, 431, 200]
    assert {shown(answer.text) for answer in answers} == {NAME}


async def test_without_a_name_the_pages_are_countersigns(tmp_path: Path) -> None:
    async with desk(tmp_path) as one:
        assert shown((await one.client.get("/approvals/unknown")).text) == "Countersign"
