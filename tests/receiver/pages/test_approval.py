"""The page of a question: complete, escaped, and posting to its own path."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import httpx2
import pytest
from support.approving import ADA, BOB, Desk, claims_of, desk, seen
from support.configuration import settings

from orchestrator.runs.cancellation import request_cancel
from receiver.app import create_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


HOSTILE = "<script>alert(1)</script> \"quoted\" 'too' & \u202etxt.exe\u202c \x00\x1b[2J \u2066x\u2069 {{ 7 * 7 }}"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path) as one:
        yield one


async def test_the_page_shows_what_is_asked_of_whom_and_until_when(here: Desk) -> None:
    link = await here.ask(
        title="Ship order 42?",
        text="First line.\nSecond line.",
        facts=[("Order", "42"), ("Value", "1,200 EUR")],
        links=[("The contract", "https://docs.example.org/contract/42?v=1&w=2")],
    )
    answer = await here.client.get(link)

    text = seen(answer)
    for shown in ("Ship order 42?", "First line. Second line.", "Order 42", "Value 1,200 EUR", ADA, "UTC (59 minutes"):
        assert shown in text
    assert 'href="https://docs.example.org/contract/42?v=1&amp;w=2"' in answer.text
    assert "The contract (docs.example.org)" in text
    assert re.findall(r'name="decision" value="(\w+)"', answer.text) == ["approve", "reject"]


async def test_a_hint_in_the_link_marks_a_button_and_does_nothing_else(here: Desk) -> None:
    link = await here.ask()

    assert re.findall(r'value="(\w+)" class="\w+ chosen"', (await here.client.get(f"{link}?choose=reject")).text) == [
        "reject"
    ]
    for other in ("", '"><script>', "ship", "approve&choose=reject"[:3]):
        answer = await here.client.get(link, params={"choose": other})
        assert ' chosen"' not in answer.text
        assert "<script" not in answer.text


async def test_everything_shown_survives_hostile_text(here: Desk) -> None:
    link = await here.ask(
        title=HOSTILE, text=HOSTILE, facts=[(HOSTILE, HOSTILE)], links=[(HOSTILE, "https://a.example")]
    )
    before = await here.client.get(link)
    await here.post(link, comment=HOSTILE)
    after = await here.client.get(link)

    for answer in (before, after):
        text = seen(answer)
        assert text.count("<script>alert(1)</script> \"quoted\" 'too' & \ufffdtxt.exe\ufffd") >= 5
        assert "{{ 7 * 7 }}" in text
        for character in "\u202e\u202c\u2066\u2069\x00\x1b":
            assert character not in answer.text

    (kept,) = (await here.ended())["result"]["answers"]
    assert kept["comment"] == HOSTILE


async def test_a_megabyte_is_cut_and_says_so_and_its_digest_is_of_what_is_shown(here: Desk) -> None:
    link = await here.ask(title="t" * 1_000_000, text="x" * 1_000_000, facts=[("f" * 1_000_000, "v" * 1_000_000)])
    answer = await here.client.get(link)

    assert "cut here; 1,000,000 characters in all" in seen(answer)
    assert len(answer.text) < 60_000
    stored = (await here.engine.promises.get("consult.1:1")).param.data
    text = json.dumps(stored, sort_keys=True, separators=(",", ":"))
    assert claims_of(here, link).digest == hashlib.sha256(text.encode()).hexdigest()


async def test_a_comment_that_looks_like_a_pickle_stays_text(here: Desk) -> None:
    link = await here.ask()
    comment = '{"__py_pickle": "gASVAAAA", "__type": "x"}'
    await here.post(link, comment=comment)

    assert (await here.ended())["result"]["answers"][0]["comment"] == comment


async def test_below_a_sub_path_the_page_leads_back_to_itself(tmp_path: Path) -> None:
    chosen = settings(tmp_path, PUBLIC_URL="https://example.org/sub")
    async with desk(tmp_path) as here:
        link = await here.ask()
        app = create_app(replace(chosen, signing_keys=here.keys), here.engine, {})
        other = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://127.0.0.1:8000")
        assert f'action="/sub{link}"' in (await other.get(link)).text
        answer = await other.post(link, data={"decision": "approve"}, headers={"Origin": "https://example.org"})
        assert answer.headers["location"] == f"/sub{link}"
        await other.aclose()


async def test_the_page_says_who_asks_and_through_which_workflow(here: Desk) -> None:
    link = await here.ask(requester="Grace Hopper")

    page = seen(await here.client.get(link))
    assert "Requested by Grace Hopper Asked by Countersign , workflow consult, run 1 Sent to" in page
    mail = await here.letter()
    for part in (mail.text, mail.html or ""):
        assert "Grace Hopper asks you for this." in part
        assert "The workflow consult asks this." in part


async def test_after_deciding_the_page_is_a_receipt_that_says_what_happens_next(here: Desk) -> None:
    link = await here.ask()
    await here.post(link)

    page = seen(await here.client.get(link))
    assert "The workflow consult goes on with this decision. Nothing more is needed from you" in page
    assert re.search(r"Receipt You approved this\. Recorded at \d+ \w+ \d{4}, [\d:]{8} UTC SHA-256", page)
    assert claims_of(here, link).digest in page.split()


@pytest.mark.parametrize(
    ("decision", "told"),
    [("approve", "approved this."), ("send_back", "chose “Send back”."), ("reject", "rejected this.")],
)
async def test_a_decision_of_somebody_else_is_said_to_be_one(here: Desk, decision: str, told: str) -> None:
    link = await here.ask(people=[ADA, BOB], decisions=["approve", "send_back", "reject"])
    await here.post(await here.link(BOB), decision)

    assert f"This is not your own decision: {BOB} {told}" in seen(await here.client.get(link))
    assert "not your own" not in seen(await here.client.get(await here.link(BOB)))


async def test_a_question_that_is_over_shows_its_title_and_what_became_of_it_and_no_more(here: Desk) -> None:
    cancelled = await here.ask("1", title="Ship it at once?", text="A secret plan.")
    await request_cancel(here.engine, "consult.1")
    late = await here.ask("2", people=[BOB], deadline=1, title="Ship it at once?", text="A secret plan.")
    await here.ended("2")

    for link, became in ((cancelled, "This question was withdrawn"), (late, "The time to answer is over.")):
        for answer in (await here.client.get(link), await here.post(link)):
            page = seen(answer, 410)
            assert "Ship it at once?" in page
            assert became in page
            assert "It ended on" in page
            assert "A secret plan" not in page
            assert "<form" not in answer.text


async def test_live_links_and_lists_of_a_text_are_on_the_page(here: Desk) -> None:
    link = await here.ask(text="Check:\n- one\n- two, see https://a.example/x.", facts=[("Log", "http://b.example/y")])
    answer = await here.client.get(link)

    assert "<ul><li>one</li>" in answer.text
    for url in ("https://a.example/x", "http://b.example/y"):
        assert f'<a href="{url}" rel="noopener noreferrer nofollow" referrerpolicy="no-referrer">' in answer.text
    assert "(a.example)" in seen(answer)
