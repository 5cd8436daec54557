"""Approval pages in a real Chromium: opened, decided with mouse and keyboard, and accessible."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.approving import ADA, BOB, CAT, Desk, code_in
from support.browsing import LAPTOP, PHONE, accessible, chromium, opened, served
from support.configuration import API_KEY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from playwright.async_api import Browser, Page

DAN = "dan@example.org"

LONG: dict[str, Any] = {
    "title": "Ship order 42 to the warehouse in Gothenburg?",
    "text": "The customer asked for an earlier date.\n\nEverything is in stock.",
    "facts": [("Order", "42"), ("Value", "1,200 EUR"), ("A label without a break " + "x" * 80, "y" * 400)],
    "links": [("The contract", "https://docs.example.org/contract/42")],
}


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[tuple[Desk, str]]:
    async with served(tmp_path) as one:
        yield one


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as one:
        yield one


async def focused(page: Page) -> str:
    name: str = await page.evaluate("document.activeElement.value ?? document.activeElement.tagName")
    return name


async def test_a_browser_that_loads_scrolls_focuses_and_waits_decides_nothing(
    here: tuple[Desk, str], browser: Browser
) -> None:
    desk, url = here
    link = await desk.ask(**LONG)
    refused: list[str] = []
    page = await browser.new_page()
    page.on("console", lambda message: refused.append(message.text))
    page.on("request", lambda request: refused.append(request.url) if request.method != "GET" else None)

    for suffix in ("", "?choose=approve", "?choose=reject"):
        await page.goto(f"{url}{link}{suffix}", wait_until="networkidle")
        await page.mouse.wheel(0, 5000)
        for _ in range(12):
            await page.keyboard.press("Tab")
        for element in await page.query_selector_all("a, button:not([hidden]), textarea"):
            await element.focus()
            await element.hover()
        await page.evaluate("window.dispatchEvent(new Event('beforeunload')); document.body.click()")
        await page.reload()

    assert refused == []
    assert await desk.state() == "pending"


@pytest.mark.parametrize("script", [True, False])
async def test_a_person_approves_by_mouse(here: tuple[Desk, str], browser: Browser, script: bool) -> None:  # noqa: FBT001
    desk, url = here
    page = await opened(browser, url + await desk.ask(), java_script_enabled=script)

    await page.get_by_role("button", name="Approve").click()

    assert await page.get_by_role("heading", level=1).inner_text() == "Approved"
    assert ADA in await page.inner_text("main")
    assert await page.get_by_role("button").count() == 0
    (answer,) = (await desk.ended())["result"]["answers"]
    assert (answer["decision"], answer["client"]) == ("approve", "127.0.0.1")


async def test_a_person_rejects_with_a_comment_by_keyboard_alone(here: tuple[Desk, str], browser: Browser) -> None:
    desk, url = here
    page = await opened(browser, url + await desk.ask())

    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.name") == "comment"
    await page.keyboard.type("Not before Monday.")
    await page.keyboard.press("Tab")
    assert await focused(page) == "approve"
    await page.keyboard.press("Tab")
    assert await focused(page) == "reject"
    await page.keyboard.press("Enter")
    await page.wait_for_selector("#outcome")

    assert await page.get_by_role("heading", level=1).inner_text() == "Rejected"
    assert "Not before Monday." in await page.inner_text("main")
    assert (await desk.ended())["result"]["answers"][0]["comment"] == "Not before Monday."


async def test_enter_in_a_field_decides_nothing(here: tuple[Desk, str], browser: Browser) -> None:
    desk, url = here
    page = await opened(browser, url + await desk.ask(code=True))
    code = code_in((await desk.letter()).text)

    await page.get_by_label("Code from your mail").fill(code)
    await page.keyboard.press("Enter")
    await page.wait_for_timeout(300)

    assert await desk.state() == "pending"


async def test_a_double_click_a_reload_and_going_back_to_decide_otherwise(
    here: tuple[Desk, str], browser: Browser
) -> None:
    desk, url = here
    page = await opened(browser, url + await desk.ask())
    await page.get_by_role("button", name="Approve").dblclick()
    await page.wait_for_selector("#outcome")
    await page.reload()
    assert await page.inner_text("h1") == "Approved"

    another = await opened(browser, url + await desk.ask("2", people=[BOB]))
    await desk.post(await desk.link(BOB), "approve")
    await another.get_by_role("button", name="Reject").click()
    assert await another.inner_text("h1") == "Already decided: Approved"
    await another.go_back()
    assert await another.inner_text("h1") == "Approved"
    assert (await desk.ended("2"))["result"]["decision"] == "approve"


async def test_a_wrong_code_is_told_and_what_was_written_is_kept(here: tuple[Desk, str], browser: Browser) -> None:
    desk, url = here
    page = await opened(browser, url + await desk.ask(code=True))
    code = code_in((await desk.letter()).text)

    await page.get_by_label("Code from your mail").fill("AAAA-AAAA")
    await page.get_by_label("Comment").fill("\n as written ")
    await page.get_by_role("button", name="Approve").click()
    assert "Tries left: 4" in await page.get_by_role("alert").inner_text()
    assert await page.evaluate("document.activeElement.name") == "code"
    assert await page.get_by_label("Comment").input_value() == "\n as written "

    await page.get_by_label("Code from your mail").fill(code.lower())
    await page.get_by_role("button", name="Approve").click()
    assert await page.inner_text("h1") == "Approved"


async def test_another_site_cannot_post_the_form(here: tuple[Desk, str], browser: Browser) -> None:
    desk, url = here
    link = await desk.ask()
    page = await browser.new_page()
    await page.route("https://evil.example/", lambda route: route.fulfill(
        content_type="text/html",
        body=f'<form method="post" action="{url}{link}"><button name="decision" value="approve">Win</button></form>',
    ))  # fmt: skip
    await page.goto("https://evil.example/")
    await page.get_by_role("button").click()

    assert await page.inner_text("h1") == "This came from another site"
    assert await desk.state() == "pending"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [LAPTOP, PHONE], ids=["laptop", "phone"])
async def test_every_page_is_accessible_and_fits_its_width(
    here: tuple[Desk, str], browser: Browser, scheme: Any, viewport: Any
) -> None:
    desk, url = here
    link = await desk.ask(code=True, people=[ADA, BOB], **LONG)
    code = code_in((await desk.letter()).text)
    page = await opened(browser, f"{url}{link}?choose=approve", color_scheme=scheme, viewport=viewport)

    async def check() -> None:
        await accessible(page)
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    await check()
    await page.get_by_label("Code from your mail").fill("AAAA")
    await page.get_by_role("button", name="Reject").click()
    await check()
    await page.get_by_label("Code from your mail").fill(code)
    await page.get_by_label("Comment").fill("z" * 300)
    await page.get_by_role("button", name="Reject").click()
    await check()
    assert (await desk.post(link, "approve")).status_code == 409
    others = await desk.ask("half", people=[CAT, DAN], need="all", **LONG)
    await desk.post(others, "approve")
    withdrawn = await desk.ask("withdrawn", people=["eve@example.org"], **LONG)
    await desk.client.delete("/workflows/consult/withdrawn", headers={"Authorization": f"Bearer {API_KEY}"})
    await desk.ended("withdrawn")
    expired = await desk.ask("expired", people=["fay@example.org"], deadline=1, **LONG)
    await desk.ended("expired")

    for path, title in (
        ("/approvals/none", "This link is not valid"),
        (await desk.link(BOB), "Rejected"),
        (others, "Approved"),
        (await desk.link(DAN), LONG["title"]),
        (withdrawn, "This question was withdrawn"),
        (expired, "This question is closed"),
        ("/nothing", "There is nothing here"),
        ("/workflows", "A valid API key is needed"),
    ):
        await page.goto(f"{url}{path}")
        assert await page.inner_text("h1") == title
        await check()


async def test_on_a_phone_the_buttons_are_in_reach_and_hide_nothing(here: tuple[Desk, str], browser: Browser) -> None:
    desk, url = here
    page = await opened(browser, url + await desk.ask(**LONG | {"text": "A line.\n\n" * 60}), viewport=PHONE)
    height = PHONE["height"]

    async def box(name: str) -> dict[str, float]:
        found = await page.locator(name).bounding_box()
        assert found is not None
        return {"y": found["y"], "height": found["height"]}

    bar = await box(".choices")
    assert bar["y"] + bar["height"] <= height
    assert bar["height"] < height / 6
    assert (await box("h1"))["y"] < height / 4

    # What has the focus is never behind the buttons, and at the end of the page nothing is.
    await page.locator("#comment").focus()
    field, bar = await box("#comment"), await box(".choices")
    assert field["y"] + field["height"] <= bar["y"]
    await page.mouse.wheel(0, 100_000)
    await page.wait_for_timeout(200)
    note, bar = await box("#chosen"), await box(".choices")
    assert note["y"] + note["height"] <= bar["y"]


async def test_many_or_long_decisions_never_cover_the_question_on_a_phone(
    here: tuple[Desk, str], browser: Browser
) -> None:
    desk, url = here
    long = {"decisions": ["approve", *("send_back_to_the_author", "forward_to_the_board", "reject")]}
    page = await opened(browser, url + await desk.ask(**LONG | long), viewport=PHONE)

    assert await page.locator(".choices").evaluate("bar => getComputedStyle(bar).position") == "static"


async def test_a_missing_reason_is_told_at_the_field_and_what_was_written_is_kept(
    here: tuple[Desk, str], browser: Browser
) -> None:
    desk, url = here
    page = await opened(browser, url + await desk.ask(reason_required=["reject"], code=True))
    code = code_in((await desk.letter()).text)

    await page.get_by_label("Code from your mail").fill(code)
    await page.get_by_role("button", name="Reject").click()
    assert "“Reject” needs a reason" in await page.get_by_role("alert").inner_text()
    assert await page.evaluate("document.activeElement.name") == "comment"
    assert await page.get_by_label("Code from your mail").input_value() == code
    await page.get_by_label("Comment").fill("Not before Monday.")
    await page.get_by_role("button", name="Reject").click()
    assert await page.inner_text("h1") == "Rejected"


async def test_a_link_with_something_glued_to_it_opens_the_page(here: tuple[Desk, str], browser: Browser) -> None:
    desk, url = here
    link = await desk.ask()

    for glue in (".", ">", "/", ")", "%3E", "%20", "\u201d"):
        page = await opened(browser, f"{url}{link}{glue}")
        assert page.url == f"{url}{link}"
        assert await page.inner_text("h1") == "Ship it?"
