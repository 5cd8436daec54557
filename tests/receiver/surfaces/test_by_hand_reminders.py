"""Reminding by hand over HTTP, on every engine: the same links again, at most once a minute, over all processes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from support.approving import ADA, BOB, Desk, code_in, consult, desk, link_in
from support.by_hand import KEY, answer, payment, waiting
from support.configuration import API_KEY
from support.edge import problem
from support.plant import pause

from orchestrator.callbacks import hand_reminders
from orchestrator.errors import EngineUnavailable, StepRefused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx2
    from conftest import Start

    from orchestrator.mail.message import Message

QUESTION = "consult/1/callbacks/question"


@pytest.fixture
async def here(tmp_path: Path, engine_url: str) -> AsyncIterator[Desk]:
    async with desk(tmp_path, engine_url, workflows=(consult, payment)) as one:
        yield one


async def remind(here: Desk, callback: str = QUESTION, **body: Any) -> httpx2.Response:
    content: dict[str, Any] = {"json": body} if body else {}

    return await here.client.post(f"/workflows/{callback}/remind", headers=KEY, **content)


async def test_everybody_gets_their_link_again_and_the_record_says_who_asked_for_it_and_why(here: Desk) -> None:
    link = await here.ask(people=[ADA, BOB], code=True)
    asked = await remind(here, reason="It ships today.")

    document = asked.json()
    assert asked.status_code == 202
    assert document.pop("at").endswith("Z")
    assert document == {"workflow": "consult", "id": "1", "callback": "question", "reminder": 1}
    first, second = await here.letter(ADA), await here.letter(ADA, number=1)
    assert link_in(second.text) == link_in(first.text) == link
    assert code_in(second.text) == code_in(first.text)
    assert second.subject == "Reminder: Ship it?"
    assert link_in((await here.letter(BOB, number=1)).text) == link_in((await here.letter(BOB)).text)
    names = [name for name, _ in here.letters.sent]
    assert len(set(names)) == len(names), "a mailbox would show a reminder as the mail it reminds of"

    step = (await here.ended(steps=True, wait=0))["steps"][0]
    assert [(one["by"], one["reason"]) for one in step["reminders"]] == [("tests", "It ships today.")]
    assert link.rpartition("/")[2] not in str(step)


async def test_within_a_minute_it_is_refused_with_how_long_to_wait(here: Desk) -> None:
    await here.ask()
    assert (await remind(here)).status_code == 202
    await here.letter(number=1)

    refused = await remind(here, reason="again")
    problem(refused, 429, "rate-limited")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    await pause(0.5)
    assert len(here.letters.sent) == 2


async def test_of_many_at_the_same_instant_one_reminds(here: Desk) -> None:
    await here.ask()
    answers = await asyncio.gather(*(remind(here) for _ in range(20)))

    assert sorted(each.status_code for each in answers) == [202] + [429] * 19
    await here.letter(number=1)
    await pause(0.5)
    assert len(here.letters.sent) == 2


async def test_after_the_minute_it_is_allowed_again_and_counted(here: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    await here.ask()

    for number in range(1, 8):
        with monkeypatch.context() as patch:
            patch.setattr(hand_reminders, "PAUSE", 0)
            assert (await remind(here, reason=f"{number}")).json()["reminder"] == number

        await here.letter(number=number)
        problem(await remind(here), 429, "rate-limited")

    step = (await here.ended(steps=True, wait=0))["steps"][0]
    assert [one["reason"] for one in step["reminders"]] == ["3", "4", "5", "6", "7"]
    page = (await here.client.get("/workflows/consult/1", headers=KEY | {"Accept": "text/html"})).text
    assert "reminded 7 times" in page
    assert "reminded by hand by tests at" in page


async def test_what_is_not_open_or_asks_nobody_reminds_nobody(here: Desk) -> None:
    await waiting(here)
    refused = problem(await remind(here, "payment/1/callbacks/paid"), 422, "invalid-input")
    assert refused["errors"][0]["field"] == "callback"

    link = await here.ask()
    problem(await remind(here, reason=1), 422, "invalid-input")
    problem(await remind(here, reason="x" * 2001), 422, "invalid-input")
    problem(await remind(here, more=1), 422, "invalid-input")
    problem(await remind(here, "consult/1/callbacks/nothing"), 404, "unknown-callback")
    problem(await remind(here, "consult/2/callbacks/question"), 404, "unknown-id")
    problem(await remind(here, "nothing/1/callbacks/question"), 404, "unknown-workflow")

    await here.post(link)
    assert problem(await remind(here), 409, "already-settled")["by"] == "approver"
    assert len(here.letters.sent) == 1


async def test_a_withdrawn_question_is_expired(here: Desk) -> None:
    await here.ask()
    await here.client.delete("/workflows/consult/1", headers=KEY)
    await here.ended()

    problem(await remind(here), 410, "expired")


async def test_a_body_that_is_not_declared_as_json_is_refused(here: Desk) -> None:
    await here.ask()
    path = f"/workflows/{QUESTION}/remind"

    problem(await here.client.post(path, content=b"{}", headers=KEY), 415, "unsupported-media-type")
    json = {"Content-Type": "application/json"}
    problem(await here.client.post(path, content=b"{", headers=KEY | json), 400, "malformed-body")
    assert (await here.client.post(path, content=b"{}", headers=KEY | json)).status_code == 202


async def test_while_mail_is_down_a_reminder_waits_and_a_later_one_takes_its_place(
    here: Desk, monkeypatch: pytest.MonkeyPatch, hurried: None
) -> None:
    await here.ask()
    here.letters.outages = 1_000_000
    assert (await remind(here, reason="first")).status_code == 202
    monkeypatch.setattr(hand_reminders, "PAUSE", 0)
    assert (await remind(here, reason="second")).status_code == 202

    here.letters.outages = 0
    await here.letter(number=1)
    await pause(3)
    assert len(here.letters.sent) == 2


async def test_a_refused_address_stops_neither_the_others_nor_a_later_reminder(
    here: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await here.ask(people=[ADA, BOB])
    send = here.letters.send

    async def refuses_ada(message: Message, *, message_id: str) -> None:
        if message.to == ADA:
            raise StepRefused("no such mailbox")

        await send(message, message_id=message_id)

    with monkeypatch.context() as patch:
        patch.setattr(here.letters.mailer, "send", refuses_ada)
        assert (await remind(here)).status_code == 202
        await here.letter(BOB, number=1)

    monkeypatch.setattr(hand_reminders, "PAUSE", 0)
    assert (await remind(here)).json()["reminder"] == 2
    await here.letter(ADA, number=1)
    await here.letter(BOB, number=2)


async def test_a_request_whose_task_was_never_created_is_done_when_it_is_repeated(
    here: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await here.ask()

    async def unavailable(*_: Any, **__: Any) -> None:
        raise EngineUnavailable("it did not answer")

    with monkeypatch.context() as patch:
        patch.setattr("orchestrator.by_hand.reminding.create_task", unavailable)
        problem(await remind(here), 503, "engine-unavailable")

    problem(await remind(here), 429, "rate-limited")
    await here.letter(number=1)
    await pause(0.5)
    assert len(here.letters.sent) == 2


async def test_the_log_and_the_metrics_tell_of_it_without_the_reason(here: Desk, start: Start) -> None:
    log = start("debug")
    link = await here.ask()
    await remind(here, reason="because")
    await here.letter(number=1)

    lines = [line.partition("by_hand ")[2] for line in log.getvalue().splitlines() if "by hand" in line]
    assert lines == ["consult.1 callback question reminded by hand by=tests client=127.0.0.1"]
    assert not any(secret in log.getvalue() for secret in ("because", API_KEY, link.rpartition("/")[2]))
    metrics = (await here.client.get("/metrics", headers=KEY)).text
    assert 'countersign_by_hand_total{action="remind",result="done"} 1.0' in metrics


async def test_after_the_question_is_answered_by_hand_nobody_is_reminded(here: Desk) -> None:
    await here.ask()
    assert (await answer(here, QUESTION, "approve")).status_code == 200

    assert problem(await remind(here), 409, "already-settled")["by"] == "operator"
