"""Approval pages over HTTP: who records what, and that opening a page decides nothing."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import pytest
from support.approving import ADA, BOB, Desk, claims_of, code_in, desk, seen

from orchestrator.errors import EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path) as one:
        yield one


# -- looking ------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Purpose": "prefetch"},
        {"Sec-Purpose": "prefetch;prerender"},
        {"X-Moz": "prefetch"},
        {"User-Agent": "SafeLinks"},
        {"Content-Type": "application/x-www-form-urlencoded"},
    ],
)
async def test_looking_decides_nothing_however_it_is_done(here: Desk, headers: dict[str, str]) -> None:
    link = await here.ask()

    for path in (link, f"{link}?choose=approve", f"{link}?decision=approve", f"{link}?choose=approve&comment=x"):
        for method in ("GET", "HEAD"):
            body = b"decision=approve" if "Content-Type" in headers else None
            answer = await here.client.request(method, path, headers=headers, content=body)
            assert answer.status_code == 200

    assert await here.state() == "pending"


async def test_a_hundred_looks_decide_nothing(here: Desk) -> None:
    link = await here.ask()
    answers = await asyncio.gather(*(here.client.get(f"{link}?choose=approve") for _ in range(100)))

    assert {answer.status_code for answer in answers} == {200}
    assert await here.state() == "pending"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_other_methods_are_refused_with_a_page(here: Desk, method: str) -> None:
    link = await here.ask()
    answer = await here.client.request(method, link)

    assert "not possible" in seen(answer, 405)
    assert answer.headers["allow"] == "GET, HEAD, POST"
    assert await here.state() == "pending"


# -- deciding -----------------------------------------------------------------


@pytest.mark.parametrize(("decision", "past"), [("approve", "Approved"), ("reject", "Rejected")])
async def test_a_decision_is_recorded_and_shown_with_by_whom_and_when(here: Desk, decision: str, past: str) -> None:
    link = await here.ask()
    answer = await here.post(link, decision, comment="with\r\ncare", other="ignored")

    assert (answer.status_code, answer.headers["location"]) == (303, link)
    page = seen(await here.client.get(link))
    assert f"{past} Recorded by {ADA} on" in page
    assert "with care" in page
    assert "Ship it?" in page
    assert "<form" not in (await here.client.get(link)).text
    (kept,) = (await here.ended())["result"]["answers"]
    assert (kept["decision"], kept["person"], kept["comment"]) == (decision, ADA, "with\ncare")


async def test_a_workflow_may_name_its_own_decisions(here: Desk) -> None:
    link = await here.ask(decisions=["publish", "send_back", "discard"])

    assert "Publish Send back Discard" in seen(await here.client.get(link))
    assert (await here.post(link, "approve")).status_code == 400
    assert (await here.post(link, "send_back")).status_code == 303
    assert "Send back Recorded by" in seen(await here.client.get(link))
    assert (await here.ended())["result"]["decision"] == "send_back"


@pytest.mark.parametrize("decision", ["", "Approve", "approve ", "succeeded", "expired", "cancelled", "<script>"])
async def test_what_is_no_decision_of_the_link_is_refused(here: Desk, decision: str) -> None:
    link = await here.ask()

    assert "not one of the decisions" in seen(await here.post(link, decision), 400)
    assert await here.state() == "pending"


async def test_a_form_without_a_decision_is_refused(here: Desk) -> None:
    link = await here.ask()

    seen(await here.client.post(link, data={"comment": "x"}), 400)
    assert await here.state() == "pending"


async def test_a_double_click_and_a_resubmit_lead_to_the_page_as_recorded(here: Desk) -> None:
    link = await here.ask()
    clicks = await asyncio.gather(*(here.post(link, comment="once") for _ in range(10)))
    again = await here.post(link, comment="another comment")

    assert {answer.status_code for answer in (*clicks, again)} == {303}
    assert "once" in seen(await here.client.get(link))
    assert "another comment" not in seen(await here.client.get(link))


async def test_another_decision_later_is_told_what_stands(here: Desk) -> None:
    link = await here.ask()
    await here.post(link, "approve", comment="fine")

    page = seen(await here.post(link, "reject", comment="no"), 409)
    assert "Already decided: Approved" in page
    assert "Your choice, Reject , was not recorded" in page
    assert f"Recorded by {ADA} on" in page
    assert (await here.ended())["result"]["decision"] == "approve"


async def test_of_a_hundred_opposite_decisions_at_once_one_stands(here: Desk) -> None:
    link = await here.ask()
    answers = await asyncio.gather(*(here.post(link, ("approve", "reject")[n % 2]) for n in range(100)))

    stands = (await here.ended())["result"]["decision"]
    expected = {"approve": [303, 409], "reject": [409, 303]}[stands]
    assert [answer.status_code for answer in answers] == expected * 50


async def test_who_decided_what_from_where_over_which_text_is_told_by_the_workflow_api(here: Desk) -> None:
    link = await here.ask(people=[ADA, BOB])
    asked = (await here.ended(steps=True, wait=0))["steps"][0]
    assert (asked["approval"]["people"], asked["approval"]["answer"]) == ([ADA, BOB], None)
    await here.post(link, comment="fine")

    document = await here.ended(steps=True)
    approval = document["steps"][0]["approval"]
    digest = claims_of(here, link).digest
    answer = approval["answer"]
    assert (approval["digest"], approval["title"]) == (digest, "Ship it?")
    assert answer == {
        "decision": "approve", "person": ADA, "comment": "fine", "digest": digest, "client": "127.0.0.1",
        "at": answer["at"],
    }  # fmt: skip
    assert document["result"]["answers"] == [answer]
    assert "approval" not in document["steps"][1]


# -- an unreachable engine ----------------------------------------------------


async def test_with_the_engine_away_nothing_is_lost_and_the_page_says_try_again(here: Desk) -> None:
    link = await here.ask()
    resolve = here.engine.promises.resolve

    async def away(*_: object) -> Any:
        raise EngineUnavailable("the engine did not answer within 5 s")

    here.engine.promises.resolve = away  # type: ignore[assignment,method-assign]
    answer = await here.post(link, "reject", comment='so "far"')
    page = seen(answer, 503)
    assert "Not recorded" in page
    assert "try again" in page
    assert answer.headers["retry-after"]

    here.engine.promises.resolve = resolve  # type: ignore[method-assign]
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', answer.text))
    assert fields == {"decision": "reject", "comment": "so &#34;far&#34;"}
    assert (await here.post(link, "reject", comment='so "far"')).status_code == 303


async def test_with_an_unreachable_engine_the_question_is_still_a_page(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        link = await here.ask()

        async def away(*_: object) -> Any:
            raise EngineUnavailable("the engine did not answer within 5 s")

        get = here.engine.promises.get
        here.engine.promises.get = away  # type: ignore[assignment,method-assign]
        seen(await here.client.get(link), 503)
        answer = await here.post(link, "reject", comment="so far")
        seen(answer, 503)
        assert answer.headers["retry-after"]

        here.engine.promises.get = get  # type: ignore[method-assign]
        fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', answer.text))
        assert fields == {"decision": "reject", "comment": "so far"}
        (action,) = re.findall(r'<form method="post" action="([^"]+)"', answer.text)
        assert link.endswith(action)
        assert (await here.post(link, **fields)).status_code == 303


async def test_nobody_reads_the_token_the_comment_or_the_code_in_the_log(here: Desk, start: Any) -> None:
    log = start("debug")
    link = await here.ask(code=True)
    code = code_in((await here.letter()).text)
    await here.post(link, code="AAAA-AAAA", comment="private words")
    await here.post(link, code=code, comment="private words")
    await here.client.get(link)
    await here.ended()

    text = log.getvalue()
    assert "POST /approvals/{token} 303" in text
    assert "promise=consult.1:1 callback=question" in text
    for secret in (link.rpartition("/")[2], code, "private words", ADA):
        assert secret not in text
