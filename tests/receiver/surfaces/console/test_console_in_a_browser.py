"""The console in a real Chromium: a person's wait is found, reminded, answered and cancelled; pages are accessible."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.approving import ADA, BOB
from support.browsing import accessible, chromium, opened, served
from support.configuration import API_KEY

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


async def test_an_operator_signs_in_finds_a_wait_reminds_answers_cancels_and_signs_out(tmp_path: Path) -> None:
    async with served(tmp_path) as (desk, url), chromium() as browser:
        await desk.ask("one", people=[ADA], title="For Ada")
        await desk.ask("two", people=[BOB], title="For Bob")
        page = await opened(browser, f"{url}/console", java_script_enabled=True)
        await accessible(page)
        await page.get_by_label("API key").fill(API_KEY)
        await page.keyboard.press("Enter")
        await page.get_by_role("heading", name="Overview").wait_for()
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
