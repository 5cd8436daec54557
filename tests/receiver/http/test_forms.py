"""Forms: parsed strictly, and accepted only from our own pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.approving import Desk, desk, seen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path) as one:
        yield one


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:8000"},
        {"Sec-Fetch-Site": ""},
        {"Origin": "null"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1:8001"},
        {"Origin": "https://127.0.0.1:8000"},
        {"Origin": "http://127.0.0.1:8000.evil.example"},
        {"Origin": "http://[broken"},
        {"Origin": "http://evil.example", "Host": "evil.example"},
    ],
)
async def test_a_post_from_another_site_decides_nothing(here: Desk, headers: dict[str, str]) -> None:
    link = await here.ask()

    assert "another site" in seen(await here.post(link, headers=headers), 403)
    assert await here.state() == "pending"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "same-origin", "Origin": "null"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://127.0.0.1:8000"},
        {"Host": "elsewhere.example"},
    ],
)
async def test_a_post_from_the_page_itself_decides(here: Desk, headers: dict[str, str]) -> None:
    link = await here.ask()
    answer = await here.post(link, headers=headers)

    assert (answer.status_code, answer.headers["location"]) == (303, link)


async def test_a_repeated_fetch_header_passes_only_if_each_does(here: Desk) -> None:
    link = await here.ask()
    headers = [("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")]

    seen(await here.client.post(link, data={"decision": "approve"}, headers=headers), 403)
    assert await here.state() == "pending"


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b'{"decision": "approve"}', "application/json", 415),
        (b"decision=approve", "text/plain", 415),
        (b"decision=approve", None, 415),
        (b"decision=approve", "application/x-www-form-urlencoded; charset=utf-16", 415),
        (b"decision=approve&decision=reject", "application/x-www-form-urlencoded", 400),
        (b"decision=approve&comment=a&comment=b", "application/x-www-form-urlencoded", 400),
        (b"decision=approve&comment=\xff", "application/x-www-form-urlencoded", 400),
        (b"decision=approve&comment=%ff", "application/x-www-form-urlencoded", 400),
        (b"decision=approve&comment=%ed%a0%80", "application/x-www-form-urlencoded", 400),
        (b"decision=approve" + b"&a=1" * 200, "application/x-www-form-urlencoded", 400),
        (b"decision=approve&comment=" + b"x" * 70_000, "application/x-www-form-urlencoded", 413),
        (b"", "application/x-www-form-urlencoded", 400),
    ],
)
async def test_what_is_not_the_page_s_form_is_refused_with_a_page(
    here: Desk, body: bytes, content_type: str | None, status: int
) -> None:
    link = await here.ask()
    headers = {} if content_type is None else {"Content-Type": content_type}

    seen(await here.client.post(link, content=body, headers=headers), status)
    assert await here.state() == "pending"


async def test_limits_before_any_handler_answer_with_a_page_too(here: Desk) -> None:
    link = await here.ask()
    many = [(f"x-{n}", "1") for n in range(200)]

    seen(await here.client.get(link, headers=many), 431)
    seen(await here.client.get("/approvals"), 404)
    seen(await here.client.get(f"{link}/more"), 404)
    answer = await here.client.get("/approvalsx")
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_compressed_form_is_refused(here: Desk) -> None:
    link = await here.ask()

    seen(await here.post(link, headers={"Content-Encoding": "gzip"}), 415)
    assert await here.state() == "pending"
