"""A real Chromium against the service on a real socket, if Chromium is installed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn
from playwright.async_api import Browser, Page, async_playwright
from starlette.applications import Starlette
from starlette.routing import Mount
from support.approving import Desk, desk
from support.plant import pause

from orchestrator.testing.processes import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PHONE = {"width": 390, "height": 844}
LAPTOP = {"width": 1280, "height": 900}
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def axe_source() -> str:
    """Return the accessibility checker's script. `COUNTERSIGN_AXE` names another version of it."""
    other = os.environ.get("COUNTERSIGN_AXE")

    if other:
        return Path(other).read_text("utf-8")

    return files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")


async def accessible(page: Page) -> None:
    """Check that axe-core finds no fault on this page."""
    await page.evaluate(axe_source())
    found = await page.evaluate("axe.run(document, {resultTypes: ['violations', 'incomplete']})")
    faults = [(one["id"], [node["html"] for node in one["nodes"]]) for one in found["violations"]]
    assert faults == [], faults
    assert found["passes"]


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Run Chromium, or skip with the reason."""
    program = next((found for name in _NAMES if (found := shutil.which(name))), None)

    if program is None:
        pytest.skip("no Chromium on PATH")

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        try:
            yield browser
        finally:
            await browser.close()


@contextlib.asynccontextmanager
async def served(directory: Path, below: str = "", **options: Any) -> AsyncIterator[tuple[Desk, str]]:
    """Run the service on a loopback port, mounted below this path if there is one; yield it and its address."""
    port = free_port()
    url = f"http://127.0.0.1:{port}{below}"

    async with desk(directory, PUBLIC_URL=url, **options) as one:
        app = Starlette(routes=[Mount(below, one.app)]) if below else one.app

        async with listening(app, port):
            yield one, url


@contextlib.asynccontextmanager
async def listening(app: Any, port: int) -> AsyncIterator[None]:
    """Serve an application on a loopback port."""
    config = uvicorn.Config(app, host="127.0.0.1", port=port, lifespan="off", log_config=None, ws="none")
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    serving = asyncio.create_task(server.serve())

    try:
        while not server.started:
            await pause(0.02)

        yield
    finally:
        server.should_exit = True
        await serving


async def opened(browser: Browser, url: str, **options: Any) -> Page:
    """Open an address in a fresh context."""
    context = await browser.new_context(**({"viewport": LAPTOP} | options))
    page = await context.new_page()
    await page.goto(url)

    return page
