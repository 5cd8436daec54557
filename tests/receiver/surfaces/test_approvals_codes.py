"""Questions that need a code: the link alone decides nothing, and codes cannot be guessed."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from support.approving import ADA, BOB, Desk, code_in, desk, seen
from support.configuration import settings

from orchestrator.approvals.codes import MAX_TRIES
from receiver.app import create_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path) as one:
        yield one


async def test_where_a_code_is_asked_for_the_link_alone_decides_nothing(here: Desk) -> None:
    link = await here.ask(code=True)
    code = code_in((await here.letter()).text)

    assert code not in link
    assert "Code from your mail" in seen(await here.client.get(link))
    for entered in ({}, {"code": ""}, {"code": "  "}, {"code": "AAAA-AAAA"}):
        answer = await here.post(link, comment="kept", **entered)
        assert "Not recorded." in seen(answer, 403)
        assert "kept" in answer.text

    assert await here.state() == "pending"
    assert (await here.post(link, code=f" {code.lower().replace('-', ' ')} ")).status_code == 303
    assert (await here.post(link, code="AAAA-AAAA")).status_code == 303, "what is recorded can be seen again"
    seen(await here.post(link, "reject", code="AAAA-AAAA"), 409)


async def test_another_person_s_code_and_another_wait_s_code_are_wrong(here: Desk) -> None:
    await here.ask("1", people=[ADA, BOB], code=True)
    link = await here.link(ADA)
    bobs = code_in((await here.letter(BOB)).text)
    await here.ask("2", people=["else@example.org"], code=True)
    elsewhere = code_in((await here.letter("else@example.org")).text)

    seen(await here.post(link, code=bobs), 403)
    seen(await here.post(link, code=elsewhere), 403)
    assert await here.state() == "pending"


async def test_after_five_wrong_codes_the_right_one_is_refused_too(here: Desk) -> None:
    link = await here.ask(code=True)
    code = code_in((await here.letter()).text)
    wrong = [f"{letter * 4}-{letter * 4}" for letter in "ABCDEFG"]

    told = [seen(await here.post(link, code=guess), 403) for guess in wrong[:MAX_TRIES]]

    assert ["Tries left: 4" in told[0], "Tries left: 1" in told[3], "too often" in told[4]] == [True] * 3
    assert "too often" in seen(await here.post(link, code=code), 403)
    assert await here.state() == "pending"


async def test_the_same_wrong_code_again_is_not_counted_again(here: Desk) -> None:
    link = await here.ask(code=True)
    code = code_in((await here.letter()).text)

    for _ in range(MAX_TRIES + 2):
        assert "Tries left: 4" in seen(await here.post(link, code="AAAA-AAAA"), 403)

    assert (await here.post(link, code=code)).status_code == 303


async def test_wrong_codes_at_the_same_instant_do_not_pass_the_limit_together(here: Desk) -> None:
    link = await here.ask(code=True)
    guesses = [f"{number:04}-2345" for number in range(40)]
    counted: list[str] = []
    codes = here.engine.promises.create

    async def create(promise_id: str, **options: Any) -> Any:
        counted.append(promise_id)
        return await codes(promise_id, **options)

    here.engine.promises.create = create  # type: ignore[method-assign]
    answers = await asyncio.gather(*(here.post(link, code=guess) for guess in guesses))

    assert sum("Tries left" in answer.text for answer in answers) == MAX_TRIES - 1
    assert len(set(counted)) == MAX_TRIES
    assert await here.state() == "pending"


async def test_the_limit_holds_over_replicas(tmp_path: Path, engine_url: str) -> None:
    async with desk(tmp_path, engine_url) as here:
        link = await here.ask(code=True)
        code = code_in((await here.letter()).text)
        chosen = settings(tmp_path)
        chosen = replace(chosen, signing_keys=here.keys)
        other = httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=create_app(chosen, here.engine, {})), base_url="http://127.0.0.1:8000"
        )
        for turn, letter in enumerate("ABCDE"):
            client = (here.client, other)[turn % 2]
            seen(await client.post(link, data={"decision": "approve", "code": letter * 8}), 403)

        assert "too often" in seen(await other.post(link, data={"decision": "approve", "code": code}), 403)
        await other.aclose()
