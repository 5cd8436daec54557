"""Decisions that need a reason: refused without one, with a clear message and nothing lost."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from support.approving import ADA, Desk, code_in, desk, seen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path) as one:
        yield one


async def test_the_page_and_both_parts_of_the_mail_say_which_decision_needs_a_reason(here: Desk) -> None:
    link = await here.ask(reason_required=["reject"])
    mail = await here.letter()
    rule = "A reason is required for “Reject”."

    assert rule in seen(await here.client.get(link))
    assert rule in mail.text
    assert rule in (mail.html or "")


@pytest.mark.parametrize("comment", [None, "", "  \r\n ", "\u200b"])
async def test_without_a_reason_nothing_is_recorded_and_the_form_says_what_is_missing(
    here: Desk, comment: str | None
) -> None:
    link = await here.ask(reason_required=["reject"])
    answer = await here.post(link, "reject", **({} if comment is None else {"comment": comment}))

    page = seen(answer, 422)
    assert "Not recorded. “Reject” needs a reason." in page
    assert re.search(r"<textarea[^>]* aria-invalid=\"true\" autofocus>", answer.text)
    assert re.findall(r'value="(\w+)" class="\w+ chosen"', answer.text) == ["reject"]
    assert await here.state() == "pending"
    assert (await here.post(link, "reject", comment="too late")).status_code == 303
    assert (await here.ended())["result"]["answers"][0]["comment"] == "too late"


async def test_a_decision_that_needs_none_is_recorded_without_one(here: Desk) -> None:
    link = await here.ask(reason_required=["reject"])

    assert (await here.post(link, "approve")).status_code == 303


async def test_a_missing_reason_costs_no_try_of_the_code_and_keeps_the_code(here: Desk) -> None:
    link = await here.ask(code=True, reason_required=["reject"])
    code = code_in((await here.letter()).text)

    for number in range(7):
        assert "needs a reason" in seen(await here.post(link, "reject", code=f"AAAA-AAA{number}"), 422)

    answer = await here.post(link, "reject", code=code)
    assert f'value="{code}"' in answer.text
    assert (await here.post(link, "reject", code=code, comment="too late")).status_code == 303


async def test_what_is_recorded_is_shown_to_those_who_give_no_reason(here: Desk) -> None:
    link = await here.ask(reason_required=["reject"])
    await here.post(link, "reject", comment="too late")

    assert (await here.post(link, "reject")).status_code == 303
    assert f"Recorded by {ADA}" in seen(await here.post(link, "approve"), 409)
