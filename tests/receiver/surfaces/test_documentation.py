"""`/docs` in a real Chromium: read and tried, with nothing loaded from elsewhere, wherever it is mounted."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import pytest
from support.approving import desk
from support.browsing import LAPTOP, PHONE, chromium, served
from swagger_ui_bundle import swagger_ui_path

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import Page

#: The files of swagger-ui-dist 5.31.0, as its own authors publish them on npm.
PUBLISHED = {
    "swagger-ui-bundle.js": "93b7b0862a80e2786f85b560be7693c2344354ffa7e7e224f850a54349724c31",
    "swagger-ui.css": "9e576f8322132c76949da47f9bb53c891373c303ea3a761ff548ffc9de50a98c",
}


async def test_the_policy_of_the_page_allows_its_own_scripts_and_nothing_from_elsewhere(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        answer = await here.client.get("/docs")

    policy = answer.headers["content-security-policy"]
    (nonce,) = set(re.findall(r'nonce="([\w-]{16,})"', answer.text))
    assert f"script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'" in policy
    assert "unsafe" not in policy
    assert {"default-src 'none'", "connect-src 'self'", "form-action 'none'", "base-uri 'none'"} <= set(
        policy.split("; ")
    )
    assert not re.search(r"https?://", answer.text)
    assert answer.headers["referrer-policy"] == "no-referrer"


def test_the_package_has_what_the_authors_of_swagger_ui_publish() -> None:
    for name, digest in PUBLISHED.items():
        assert hashlib.sha256((swagger_ui_path / name).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize(
    ("name", "media_type"), [("swagger-ui-bundle.js", "text/javascript"), ("swagger-ui.css", "text/css")]
)
async def test_its_files_are_served_as_what_they_are_and_no_others_are(
    tmp_path: Path, name: str, media_type: str
) -> None:
    async with desk(tmp_path) as here:
        answer = await here.client.get(f"/docs/{name}")
        assert answer.headers["content-type"] == f"{media_type}; charset=utf-8"
        assert answer.headers["x-content-type-options"] == "nosniff"

        for other in ("index.html", "../pyproject.toml", "%2e%2e/x", "swagger-ui.js", f"{name}.map"):
            assert (await here.client.get(f"/docs/{other}")).status_code == 404


@pytest.mark.slow
@pytest.mark.parametrize("below", ["", "/sub/path"])
@pytest.mark.parametrize("viewport", [LAPTOP, PHONE], ids=["laptop", "phone"])
async def test_a_request_can_be_tried_and_nothing_is_refused_by_the_policy(
    tmp_path: Path, below: str, viewport: dict[str, int]
) -> None:
    async with chromium() as browser, served(tmp_path, below) as (_, url):
        await _try_one(await browser.new_page(viewport=viewport), url)  # type: ignore[arg-type]


async def _try_one(page: Page, url: str) -> None:
    seen: list[str] = []
    page.on("console", lambda message: seen.append(message.text))
    page.on("request", lambda request: seen.append(request.url) if not request.url.startswith((url, "data:")) else None)

    await page.goto(f"{url}/docs")
    await page.locator("#operations-Operations-alive .opblock-summary-control").click()
    await page.get_by_role("button", name="Try it out").click()
    await page.get_by_role("button", name="Execute").click()
    await page.wait_for_selector(".live-responses-table")

    assert "alive" in await page.inner_text(".live-responses-table")
    assert f"{url}/healthz" in await page.inner_text(".request-url")
    assert seen == []
