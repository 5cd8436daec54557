"""The console in a real Chromium: a person's wait is found, reminded, answered and cancelled; pages are accessible."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any

import pytest
from support.approving import ADA, BOB, consult
from support.browsing import LAPTOP, PHONE, accessible, chromium, opened, served
from support.configuration import API_KEY
from support.console_pages import PAGES, console_pages
from support.crowding import crowd, crowded
from support.signing_in import KEYS

from orchestrator.testing.processes import Service

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import Browser, Page

pytestmark = pytest.mark.slow

#: How many waits are open besides those that the test is about.
CROWD = 10_000


async def signed_in_at(browser: Browser, url: str, key: str) -> Page:
    """Open the console in a window of its own, and sign in with this key."""
    page = await opened(browser, f"{url}/console")
    await page.get_by_label("API key").fill(key)
    await page.keyboard.press("Enter")
    await page.get_by_role("heading", name="Overview").wait_for()

    return page


async def test_an_operator_signs_in_finds_a_wait_among_ten_thousand_reminds_answers_cancels_and_signs_out(
    tmp_path: Path,
) -> None:
    async with served(tmp_path, workflows=(consult, crowd)) as (desk, url), chromium() as browser:
        await crowded(desk.engine, range(CROWD // 2))
        await desk.ask("one", people=[ADA], title="For Ada")
        await desk.ask("two", people=[BOB], title="For Bob")
        await crowded(desk.engine, range(CROWD // 2, CROWD))
        page = await opened(browser, f"{url}/console", java_script_enabled=True)
        await accessible(page)
        await page.get_by_label("API key").fill(API_KEY)
        await page.keyboard.press("Enter")
        await page.get_by_role("heading", name="Overview").wait_for()
        await accessible(page)

        await page.get_by_role("link", name="All waits").click()
        await accessible(page)
        assert "A question to person-0@example.org" in await page.inner_text("main")
        assert "For Bob" not in await page.inner_text("main")
        await page.get_by_label("Person").fill(BOB)
        await page.get_by_role("button", name="Show").click()
        assert await page.locator("tbody tr").count() == 1
        await accessible(page)

        await page.get_by_role("link", name="Find").click()
        await page.get_by_role("searchbox").fill(BOB)
        await page.keyboard.press("Enter")
        await page.get_by_role("link", name="For Bob").click()
        await accessible(page)
        await page.get_by_role("link", name="Remind…").click()
        await accessible(page)
        await page.get_by_role("button", name="Send the reminder").click()
        assert "reminded once" in await page.inner_text("main")
        assert await desk.link(BOB, number=1) == await desk.link(BOB)

        await page.get_by_role("link", name="Answer by hand…").click()
        await page.get_by_label("Reject").check()
        await page.get_by_label("Reason").fill("Bob is away.")
        await page.get_by_role("button", name="Record this answer").click()
        assert "Rejected by the operator tests, by hand" in await page.inner_text("main")
        assert (await desk.ended("two"))["result"]["decision"] == "reject"

        await page.goto(f"{url}/workflows/consult/one")
        await accessible(page)
        await page.get_by_role("link", name="Cancel…").click()
        await page.get_by_label("Reason").fill("Not needed.")
        await page.get_by_role("button", name="Cancel the run").click()
        assert "Cancelled by tests" in await page.inner_text("main")

        await page.get_by_role("button", name="Sign out").click()
        assert await page.get_by_label("API key").count() == 1
        await page.goto(f"{url}/console/waits")
        assert await page.get_by_label("API key").count() == 1


def keys_of(*names: str) -> str:
    return ",".join(f"{name}:{hashlib.sha256(KEYS[name].encode()).hexdigest()}" for name in names)


async def test_a_second_window_is_out_at_its_next_click_once_its_key_is_withdrawn(tmp_path: Path) -> None:
    names = ("admin", "nightly")
    engine = f"sqlite:///{tmp_path}/engine.db"
    environment = {"COUNTERSIGN_API_KEYS": keys_of(*names)}

    with Service(tmp_path, engine, environment=environment) as service:
        await asyncio.to_thread(service.start)
        request = {"order_id": "42", "approver": ADA, "summary": "A crate"}
        started = await asyncio.to_thread(
            service.ask, "PUT", "/workflows/approve_and_ship/42", request, token=KEYS["admin"]
        )
        assert started.status == 201

        async with chromium() as browser:
            stays, leaves, reads = [await signed_in_at(browser, service.url, KEYS[name]) for name in (*names, names[1])]

            for page in (stays, leaves):
                await page.get_by_role("link", name="Workflows").click()
                await page.get_by_role("link", name="approve_and_ship").click()
                await page.get_by_role("link", name="Cancel…").click()

            service.environment["COUNTERSIGN_API_KEYS"] = keys_of("admin")
            assert await asyncio.to_thread(service.stop) == 0
            await asyncio.to_thread(service.start)

            await reads.get_by_role("link", name="Waits").click()
            assert await reads.get_by_label("API key").count() == 1
            assert "42" not in await reads.inner_text("main")
            await leaves.get_by_label("Reason").fill("It is withdrawn.")
            await leaves.get_by_role("button", name="Cancel the run").click()
            assert "You are not signed in any more, so nothing was done." in await leaves.inner_text("main")
            assert await leaves.get_by_label("API key").count() == 1
            await leaves.get_by_label("API key").fill(KEYS["nightly"])
            await leaves.keyboard.press("Enter")
            await leaves.get_by_text("That is not a key of this service.").wait_for()

            await stays.get_by_role("link", name="Overview").click()
            await stays.get_by_role("heading", name="Overview").wait_for()
            assert "approve_and_ship" in await stays.inner_text("main")


@pytest.mark.timeout(300)  # axe-core looks at some pages for seconds
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [LAPTOP, PHONE], ids=["laptop", "phone"])
async def test_every_page_is_accessible_and_fits_its_width(tmp_path: Path, scheme: Any, viewport: Any) -> None:
    async with console_pages(tmp_path) as (_, url), chromium() as browser:
        page = await opened(browser, url, color_scheme=scheme, viewport=viewport)

        async def check(name: str) -> None:
            await accessible(page)
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
            # What a row is about has room, however long the rest of it is.
            widths = await page.locator("tbody th").evaluate_all("all => all.map(one => one.clientWidth)")
            assert min(widths, default=viewport["width"]) >= viewport["width"] / 9, name

        await check("sign-in")
        await page.get_by_label("API key").fill("not a key")
        await page.keyboard.press("Enter")
        await page.get_by_role("alert").wait_for()
        await check("sign-in, refused")
        await page.get_by_label("API key").fill(API_KEY)
        await page.keyboard.press("Enter")
        await page.get_by_role("heading", name="Overview").wait_for()

        for name, path in PAGES.items():
            await page.goto(f"{url}{path}")
            assert (await page.locator("h1").count(), await page.locator("script").count()) == (1, 0), name
            await check(name)
