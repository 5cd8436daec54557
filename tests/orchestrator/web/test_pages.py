"""A page for a workflow: fetched, kept, and fetched again; every failure said to be final or passing."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from ipaddress import ip_network
from pathlib import Path

import pytest
from support.websites import moved, response, website

from orchestrator.durable.kept_files import KeptFiles
from orchestrator.errors import StepRefused, StepUnavailable
from orchestrator.web.pages import Page, PageRecord, Pages
from orchestrator.web.reading import Reading

NOW = 1_795_687_200.0
ALLOWED = (ip_network("127.0.0.0/8"),)


def pages(folder: Path | None = None, *, seconds: float = 30) -> Pages:
    kept = None if folder is None else KeptFiles(folder)

    return Pages(allowed=ALLOWED, kept=kept, clock=lambda: NOW, seconds=seconds)


def text(content: str) -> bytes:
    return response(content.encode(), "text/plain; charset=utf-8")


async def test_a_page_is_its_text_and_what_the_record_holds_of_it() -> None:
    async with website({"/a": moved("/b?c#d"), "/b?c": text("Grüße")}) as site:
        page = await pages().fetch(site.url("/a"))

    assert page == Page(
        record=PageRecord(
            url=site.url("/a"),
            final_url=site.url("/b?c"),
            title="",
            digest=hashlib.sha256("Grüße".encode()).hexdigest(),
            length=5,
            fetched_at="2026-11-26T10:00:00.000Z",
        ),
        text="Grüße",
    )


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed_five_times(status: int) -> None:
    steps = {f"/{number}": moved(f"/{number + 1}", f"{status} Moved") for number in range(6)}

    async with website({**steps, "/6": text("there")}) as site:
        assert (await pages().fetch(site.url("/1"))).text == "there"
        assert (await pages().fetch(site.url("/1"))).record.final_url == site.url("/6")

        with pytest.raises(StepRefused, match="more than 5 times"):
            await pages().fetch(site.url("/0"))

        site.pages["/0"] = moved("/0")

        with pytest.raises(StepRefused, match="more than 5 times"):
            await pages().fetch(site.url("/0"))


@pytest.mark.parametrize("status", [404, 410])
async def test_a_page_that_does_not_exist_is_refused(status: int) -> None:
    async with website({"/": response(b"gone", status=f"{status} Gone")}) as site:
        with pytest.raises(StepRefused, match=f"there is no such page: 127.0.0.1 answered {status}"):
            await pages().fetch(site.url())


@pytest.mark.parametrize("status", [101, 204, 206, 300, 304, 305, 400, 401, 402, 403, 405, 451, 499, 999])
async def test_any_other_answer_that_is_no_page_is_refused(status: int) -> None:
    async with website({"/": response(b"", status=f"{status} No")}) as site:
        with pytest.raises(StepRefused if status < 500 else StepUnavailable, match=f"answered {status}"):
            await pages().fetch(site.url())


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("X-Nothing: 1", None),
        ("Retry-After: 90", 90),
        ("retry-after: Thu, 26 Nov 2026 10:00:30 GMT", 30),
        ("Retry-After: soon", None),
    ],
)
async def test_a_failure_that_may_pass_says_when_to_come_back(status: int, header: str, seconds: float | None) -> None:
    async with website({"/": response(b"x", "text/html", header, status=f"{status} Later")}) as site:
        with pytest.raises(StepUnavailable, match=f"127.0.0.1 answered {status}") as later:
            await pages().fetch(site.url())

    assert later.value.retry_after == seconds


async def test_a_page_that_comes_too_slowly_is_given_up_although_it_is_never_silent() -> None:
    status = b"HTTP/1.1 200 OK\r\n"
    body: list[bytes | float] = [status + b"\r\n", *(b"x", 0.01) * 1000]
    headers: list[bytes | float] = [status, *(b"A: b\r\n", 0.02) * 100]

    async with website({"/": body, "/headers": headers}) as site:
        for target in ("/", "/headers"):
            with pytest.raises(StepUnavailable, match=r"not fetched whole within 0\.2 s"):
                await pages(seconds=0.2).fetch(site.url(target))


async def test_redirects_do_not_extend_the_time() -> None:
    async with website({f"/{number}": [0.1, moved(f"/{number + 1}")] for number in range(6)}) as site:
        with pytest.raises(StepUnavailable, match=r"not fetched whole within 0\.25 s"):
            await pages(seconds=0.25).fetch(site.url("/0"))


async def test_a_kept_page_is_not_fetched_again(tmp_path: Path) -> None:
    async with website({"/": text("Grüße")}) as site:
        page = await pages(tmp_path).fetch(site.url())

        assert await pages(tmp_path).again(page.record) == page
        assert await pages(tmp_path).again(page.record) == page
        assert site.connections == 1


async def test_a_page_that_is_not_kept_any_more_is_fetched_again_and_says_whether_it_changed(tmp_path: Path) -> None:
    async with website({"/": moved("/now"), "/now": text("as it was")}) as site:
        page = await pages(tmp_path).fetch(site.url())
        next(tmp_path.iterdir()).unlink()

        assert await pages(tmp_path).again(page.record) == page
        assert site.targets == ["/", "/now", "/", "/now"]

        next(tmp_path.iterdir()).unlink()
        site.pages["/now"] = text("as it is")
        changed = await pages(tmp_path).again(page.record)

        assert changed.text == "as it is"
        assert changed.record.digest != page.record.digest
        assert await pages(tmp_path).again(changed.record) == changed


async def test_a_kept_page_that_was_damaged_is_the_same_as_one_that_is_gone(tmp_path: Path) -> None:
    async with website({"/": text("Grüße")}) as site:
        page = await pages(tmp_path).fetch(site.url())

        for content in (b"", "Grüß".encode(), b"\xff", b"another page's text"):
            next(tmp_path.iterdir()).write_bytes(content)

            assert await pages(tmp_path).again(page.record) == page


async def test_only_this_user_can_read_a_kept_page(tmp_path: Path) -> None:
    umask = os.umask(0)

    try:
        async with website({"/": text("Grüße")}) as site:
            await pages(tmp_path / "a/pages").fetch(site.url())
    finally:
        os.umask(umask)

    assert [each.stat().st_mode & 0o777 for each in (tmp_path / "a", tmp_path / "a/pages")] == [0o700, 0o700]
    assert [each.stat().st_mode & 0o777 for each in (tmp_path / "a/pages").iterdir()] == [0o600]


async def test_a_folder_that_cannot_be_written_costs_only_another_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")

    async with website({"/": text("Grüße")}) as site:
        with caplog.at_level(logging.WARNING):
            page = await pages(tmp_path / "file").fetch(site.url())
            assert await pages(tmp_path / "file").again(page.record) == page

        assert site.connections == 2

    assert "could not be kept" in caplog.text


async def test_only_two_pages_are_read_at_the_same_time() -> None:
    running: list[int] = []
    most = 0

    async def read(content: bytes, _kind: str) -> Reading:
        nonlocal most
        running.append(1)
        most = max(most, len(running))
        await asyncio.sleep(0.01)
        running.pop()

        return Reading(title="", text=content.decode())

    async with website({"/": text("a")}) as site:
        several = Pages(allowed=ALLOWED, read=read)
        await asyncio.gather(*(several.fetch(site.url()) for _ in range(6)))

    assert most == 2


async def test_a_cancelled_fetch_leaves_nothing_behind(tmp_path: Path) -> None:
    async with website({"/": [b"HTTP/1.1 200 OK\r\n\r\n", float("inf")]}) as site:
        work = asyncio.ensure_future(pages(tmp_path).fetch(site.url()))

        while not site.requests:  # noqa: ASYNC110 - the server is this test's, and sets no event
            await asyncio.sleep(0)

        work.cancel()

        with pytest.raises(asyncio.CancelledError):
            await work

    assert list(tmp_path.iterdir()) == []


async def test_a_page_that_is_no_text_is_refused() -> None:
    async with website({"/": response(b"%PDF-1.7", "application/pdf")}) as site:
        with pytest.raises(StepRefused, match="the page is application/pdf; only HTML and plain text are read"):
            await pages().fetch(site.url())
