"""The page of a wait: what was asked of whom; and answering it by hand, as the form says and no otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.approving import ADA, BOB, desk, seen
from support.by_hand import answer as answer_over_the_api
from support.by_hand import opened, payment, waiting
from support.edge import edge
from support.signing_in import KEYS, key_setting, signed_in

from receiver.surfaces.by_hand import ByHand

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.approving import Desk

WAIT = "/workflows/consult/1/steps/1"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path, API_KEYS=key_setting()) as one:
        yield one


async def test_it_shows_what_is_asked_of_whom_and_until_when(here: Desk) -> None:
    link = await here.ask(people=[ADA, BOB], links=[("The <contract>", "https://docs.example.org/42")])
    page = await (await signed_in(here.app, KEYS["viewer"])).get(WAIT)
    text = seen(page)

    for words in (
        "Ship it?",
        f"Waiting for {ADA} and {BOB} since today",
        "All tests are green.",
        "Order 42",
        "Open until",
    ):
        assert words in text

    assert 'href="https://docs.example.org/42" rel="noopener noreferrer nofollow"' in page.text
    assert link not in page.text
    assert link.rpartition("/")[2] not in page.text


async def test_an_operator_answers_a_question_and_it_is_recorded_as_theirs(here: Desk) -> None:
    await here.ask()
    window = await signed_in(here.app, KEYS["admin"])
    assert f'href="/console{WAIT}/answer"' in (await window.get(WAIT)).text

    form = await window.get(f"{WAIT}/answer")
    assert f"You answer instead of {ADA}." in seen(form)
    given = {"outcome": "reject", "body": "Wait <b>for</b> spring.", "reason": "Ada is on holiday."}
    answers = [await window.send(form, "Record this answer", **given) for _ in range(2)]
    assert [answer.headers["location"] for answer in answers] == [f"/console{WAIT}?done=answered"] * 2

    page = seen(await window.client.get(answers[0].headers["location"]))
    assert "Your answer is recorded." in page
    assert "Rejected by the operator admin, by hand" in page
    assert "Wait <b>for</b> spring." in page
    assert "Reason: Ada is on holiday." in page
    assert (await here.ended())["result"]["decision"] == "reject"


async def test_what_was_typed_is_not_lost_when_it_cannot_be_recorded(here: Desk) -> None:
    await here.ask()
    window = await signed_in(here.app, KEYS["admin"])
    form = await window.get(f"{WAIT}/answer")
    answer = await window.send(form, "Record this answer", outcome="approve", body="Fine & <good>.", reason=" ")
    text = seen(answer, 422)

    assert "Not recorded. A reason is needed" in text
    assert "Fine & <good>." in text
    assert 'value="approve" required checked' in answer.text
    assert await here.state() == "pending"


@pytest.mark.parametrize("outcome", ["", "ship", "succeeded", "expired"])
async def test_only_what_the_question_allows_is_recorded(here: Desk, outcome: str) -> None:
    await here.ask()
    window = await signed_in(here.app, KEYS["admin"])
    answer = await window.send(
        await window.get(f"{WAIT}/answer"), "Record this answer", outcome=outcome, reason="because"
    )

    assert "Not recorded." in seen(answer, 422)
    assert await here.state() == "pending"


async def test_an_answer_that_comes_second_is_told_so(here: Desk) -> None:
    link = await here.ask()
    window = await signed_in(here.app, KEYS["admin"])
    form = await window.get(f"{WAIT}/answer")
    await here.post(link, "approve")
    answer = await window.send(form, "Record this answer", outcome="reject", reason="because")

    assert "Not recorded." in seen(answer, 409)
    assert (await here.ended())["result"]["decision"] == "approve"
    assert (await window.get(f"{WAIT}/answer")).headers["location"] == f"/console{WAIT}"


async def test_the_page_of_a_wait_that_is_over_offers_nothing(here: Desk) -> None:
    await here.post(await here.ask(), "approve")
    page = await (await signed_in(here.app, KEYS["admin"])).get(WAIT)

    assert "Approved by" in seen(page)
    assert "/answer" not in page.text
    assert "/remind" not in page.text


async def test_an_old_form_does_not_answer_the_next_round(tmp_path: Path) -> None:
    async with desk(tmp_path, workflows=(payment,), API_KEYS=key_setting()) as here:
        await waiting(here, rounds=2)
        window = await signed_in(here.app, KEYS["admin"])
        form = await window.get("/workflows/payment/1/steps/1/answer")
        assert (await answer_over_the_api(here)).status_code == 200
        await opened(here, "payment.1:2")

        late = await window.send(form, "Record this answer", outcome="failed", reason="because")
        assert "Not recorded." in seen(late, 409)
        assert await here.state("payment.1:2") == "pending"


async def test_an_old_form_reminds_nobody_of_another_question(here: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    await here.ask()
    window = await signed_in(here.app, KEYS["admin"])
    form = await window.get(f"{WAIT}/remind")
    meant = []

    async def noticed(*_: object, step: str | None = None, **__: object) -> None:
        meant.append(step)

    monkeypatch.setattr(ByHand, "remind", noticed)
    await window.send(form, "Send the reminder", reason="It is urgent.")

    assert meant == ["consult.1:1"]


@pytest.mark.parametrize("name", ["viewer", "nightly"])
async def test_what_a_role_does_not_allow_is_neither_offered_nor_done(here: Desk, name: str) -> None:
    await here.ask()
    window = await signed_in(here.app, KEYS[name])

    for path in (WAIT, "/workflows/consult/1"):
        page = await window.get(path)
        assert "/answer" not in page.text
        assert "/cancel" not in page.text

    for path in (f"{WAIT}/answer", "/workflows/consult/1/cancel"):
        assert "This needs an API key with the role operate" in seen(await window.get(path), 403)
        given = {"outcome": "approve", "reason": "because"}
        seen(await window.client.post(f"/console{path}", data=given), 403)

    assert await here.state() == "pending"


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}])
async def test_no_other_site_can_answer_or_cancel(here: Desk, headers: dict[str, str]) -> None:
    await here.ask()
    window = await signed_in(here.app, KEYS["admin"])

    for path in (f"{WAIT}/answer", "/workflows/consult/1/cancel"):
        given = {"outcome": "approve", "reason": "because"}
        answer = await window.client.post(f"/console{path}", data=given, headers=headers)
        assert "another site" in seen(answer, 403)

    assert await here.state() == "pending"


async def test_whoever_is_signed_out_meanwhile_does_nothing_and_is_told_so(here: Desk) -> None:
    await here.ask()
    window = await signed_in(here.app, KEYS["admin"])
    form = await window.get(f"{WAIT}/answer")
    await window.sign_out()
    answer = await window.send(form, "Record this answer", outcome="reject", reason="because")

    assert "nothing was done" in seen(answer, 401)
    assert await here.state() == "pending"
    assert f'name="onward" value="{WAIT}/answer"' in answer.text


@pytest.mark.parametrize("step", ["0", "2", "99", "1.1", "x", "1;2", "1%2F2", "%3Cscript%3E", "1" * 500])
async def test_what_is_no_wait_has_no_page(here: Desk, step: str) -> None:
    await here.ask()
    answer = await (await signed_in(here.app, KEYS["admin"])).get(f"/workflows/consult/1/steps/{step}")

    assert "script" not in seen(answer, 404)


@pytest.mark.parametrize(
    ("step", "asked"),
    [("%00", []), ("1%00", []), ("1~1~progress1", []), ("%F0%9F%98%80", []), ("1.0.1", ["consult.1:1.0.1"])],
)
async def test_only_the_number_of_a_step_or_of_what_a_part_has_begun_gets_to_the_engine(
    here: Desk, monkeypatch: pytest.MonkeyPatch, step: str, asked: list[str]
) -> None:
    await here.ask()
    window = await signed_in(here.app, KEYS["admin"])
    get, read = here.engine.promises.get, []

    async def noticed(promise_id: str) -> object:
        read.append(promise_id)

        return await get(promise_id)

    monkeypatch.setattr(here.engine.promises, "get", noticed)

    seen(await window.get(f"/workflows/consult/1/steps/{step}"), 404)
    assert [each for each in read if ":" in each] == asked


async def test_a_machines_wait_is_answered_in_json(tmp_path: Path) -> None:
    async with edge(tmp_path, API_KEYS=key_setting()) as here:
        token = await here.asked()
        window = await signed_in(here.app, KEYS["admin"])
        path = "/workflows/ask/1/steps/1"
        assert token not in (await window.get(path)).text

        form = await window.get(f"{path}/answer")
        given = {"outcome": "succeeded", "reason": "The bank called."}
        refused = await window.send(form, "Record this answer", body="{1}", **given)
        assert "must be JSON" in seen(refused, 422)
        assert "{1}" in seen(refused, 422)

        answer = await window.send(form, "Record this answer", body='{"paid": 7}', **given)
        assert answer.status_code == 303
        page = await here.client.get(
            "/workflows/ask/1", headers={"Authorization": f"Bearer {KEYS['viewer']}", "Prefer": "wait=20"}
        )
        assert page.json()["result"] == {"kind": "succeeded", "value": {"paid": 7}, "by": "operator"}


async def test_an_operator_reminds_people_at_most_once_a_minute(here: Desk) -> None:
    await here.ask(people=[ADA, BOB])
    window = await signed_in(here.app, KEYS["admin"])
    assert f'href="/console{WAIT}/remind"' in (await window.get(WAIT)).text

    form = await window.get(f"{WAIT}/remind")
    assert f"Remind {ADA} and {BOB}?" in seen(form)
    sent = await window.send(form, "Send the reminder", reason="It is urgent.")
    assert sent.headers["location"] == f"/console{WAIT}?done=reminded"
    assert await here.link(ADA, number=1) == await here.link(ADA)
    assert await here.link(BOB, number=1) == await here.link(BOB)

    again = await window.send(form, "Send the reminder", reason="Really.")
    assert "Nobody was reminded." in seen(again, 429)
    assert again.headers["retry-after"]
    assert "reminded once." in seen(await window.get(WAIT))


@pytest.mark.parametrize("name", ["viewer", "nightly"])
async def test_reminding_needs_the_role_too(here: Desk, name: str) -> None:
    await here.ask()
    window = await signed_in(here.app, KEYS[name])

    assert "/remind" not in (await window.get(WAIT)).text
    seen(await window.client.post(f"/console{WAIT}/remind", data={"reason": "x"}), 403)
    assert len(here.letters.sent) == 1
