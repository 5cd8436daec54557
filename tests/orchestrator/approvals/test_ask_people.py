"""Asking people, on every engine: who is asked, which decision counts, and what the links that are left over say."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from support.approving import ADA, BOB, CAT, Desk, code_in, consult, desk, seen
from support.configuration import fresh_key
from support.plant import pause

from orchestrator import Question, ask_people
from orchestrator.callbacks.outcomes import Outcome
from orchestrator.callbacks.settlement import resolve
from orchestrator.durable.opened_at import companion_id, opened_at
from orchestrator.errors import StepRefused
from orchestrator.runs.cancellation import request_cancel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

EVERYBODY = [ADA, BOB, CAT]


@pytest.fixture
async def here(tmp_path: Path, engine_url: str) -> AsyncIterator[Desk]:
    async with desk(tmp_path, engine_url) as one:
        yield one


def who(ended: dict[str, Any]) -> list[tuple[str, str]]:
    return [(answer["person"], answer["decision"]) for answer in ended["result"]["answers"]]


async def test_of_several_people_the_first_answer_counts_and_the_links_of_the_others_say_so(here: Desk) -> None:
    await here.ask(people=EVERYBODY)
    ada, bob, cat = [await here.link(person) for person in EVERYBODY]
    assert len({ada, bob, cat}) == 3

    assert (await here.post(bob, "reject", comment="too early")).status_code == 303

    ended = await here.ended()
    assert ended["result"]["decision"] == "reject"
    assert who(ended) == [(BOB, "reject")]
    assert ended["result"]["answers"][0]["comment"] == "too early"
    assert f"Rejected Recorded by {BOB}" in seen(await here.client.get(ada))
    assert "Already decided: Rejected" in seen(await here.post(cat, "approve"), 409)


async def test_of_two_people_at_the_same_instant_one_wins_and_the_other_sees_what_was_decided(here: Desk) -> None:
    await here.ask(people=[ADA, BOB])
    links = [await here.link(ADA), await here.link(BOB)]

    answers = await asyncio.gather(here.post(links[0], "approve"), here.post(links[1], "reject"))

    assert sorted(answer.status_code for answer in answers) == [303, 409]
    won = [answer.status_code for answer in answers].index(303)
    assert who(await here.ended()) == [((ADA, "approve"), (BOB, "reject"))[won]]
    assert f"Recorded by {(ADA, BOB)[won]}" in seen(answers[1 - won], 409)


async def test_all_must_agree_and_each_answer_is_in_the_outcome(here: Desk) -> None:
    await here.ask(people=EVERYBODY, need="all")

    for person in (CAT, ADA, BOB):
        assert (await here.post(await here.link(person), comment=f"by {person}")).status_code == 303

    ended = await here.ended()
    assert ended["result"]["decision"] == "approve"
    assert who(ended) == [(person, "approve") for person in EVERYBODY]
    assert [answer["comment"] for answer in ended["result"]["answers"]] == [f"by {person}" for person in EVERYBODY]


async def test_where_all_must_agree_one_who_does_not_ends_it_for_everybody(here: Desk) -> None:
    await here.ask(people=EVERYBODY, need="all")
    await here.post(await here.link(ADA))
    await here.post(await here.link(CAT), "reject")

    ended = await here.ended()
    assert ended["result"]["decision"] == "reject"
    assert who(ended) == [(ADA, "approve"), (CAT, "reject")]
    assert "settled without this answer" in seen(await here.client.get(await here.link(BOB)), 410)
    assert "settled without this answer" in seen(await here.post(await here.link(BOB)), 410)
    assert "Approved" in seen(await here.client.get(await here.link(ADA)))


async def test_where_all_must_agree_two_at_the_same_instant_are_both_recorded(here: Desk) -> None:
    await here.ask(people=[ADA, BOB], need="all")
    links = [await here.link(ADA), await here.link(BOB)]

    answers = await asyncio.gather(here.post(links[0], "approve"), here.post(links[1], "reject"))

    ended = await here.ended()
    assert ended["result"]["decision"] == "reject"
    told = [(ADA, "approve"), (BOB, "reject")]
    assert who(ended) == [told[i] for i, answer in enumerate(answers) if answer.status_code == 303]
    assert answers[1].status_code == 303


async def test_where_all_must_agree_what_a_step_has_counted_decides_nothing(tmp_path: Path) -> None:
    """An engine without payload keys holds whatever somebody writes there, in the form of an earlier release too."""
    async with desk(tmp_path, PAYLOAD_KEYS="off") as here:
        await here.ask(people=[ADA, BOB], need="all")
        record = await here.engine.promises.get("consult.1:4")
        await here.engine.promises.create("consult.1:5", timeout_at=record.timeout_at, param=None, tags=record.tags)
        await here.engine.promises.resolve("consult.1:5", [[index, "approve", 1] for index in (9, 0, 1, -1)])

        for person in (ADA, BOB):
            await here.post(await here.link(person), "reject")

        ended = await here.ended()
        assert ended["result"]["decision"] == "reject"
        assert who(ended) == [(ADA, "reject"), (BOB, "reject")]
        # The step of this number is the one that counts.
        assert [step["name"] for step in (await here.ended(steps=True))["steps"]][3:] == ["mail_question"] * 2


@pytest.mark.parametrize("first", ["hold", "closed"])
async def test_where_agreement_fails_a_decision_has_priority_over_a_wait_that_was_closed(
    tmp_path: Path, first: str
) -> None:
    url = f"sqlite:///{tmp_path}/engine.db"
    keys: dict[str, Any] = {"SIGNING_KEYS": fresh_key()}

    async with desk(tmp_path, url, **keys) as here:
        await here.ask(people=[ADA, BOB], need="all", decisions=["approve", "reject", "hold"])
        ada, bob = await here.link(ADA), await here.link(BOB)

    async with desk(tmp_path, url, working=False, **keys) as here:
        if first == "hold":
            await here.post(bob, "hold")
            await pause(0.01)
            await here.post(ada, "reject")
        else:
            await here.engine.promises.cancel("consult.1:1")
            await pause(0.01)
            await here.post(bob, "reject")

    async with desk(tmp_path, url, **keys) as here:
        assert (await here.ended())["result"]["decision"] == ("hold" if first == "hold" else "reject")


@pytest.mark.parametrize("need", ["any", "all"])
@pytest.mark.slow
async def test_at_the_deadline_it_has_expired_for_everybody(here: Desk, need: str) -> None:
    await here.ask(people=[ADA, BOB], need=need, deadline=4)
    if need == "all":
        await here.post(await here.link(ADA))

    ended = await here.ended()
    assert ended["result"]["decision"] == "expired"
    assert who(ended) == ([(ADA, "approve")] if need == "all" else [])
    assert "time to answer is over" in seen(await here.client.get(await here.link(BOB)), 410)
    assert "time to answer is over" in seen(await here.post(await here.link(BOB)), 410)


@pytest.mark.parametrize("need", ["any", "all"])
async def test_a_cancel_withdraws_every_link(here: Desk, need: str) -> None:
    await here.ask(people=[ADA, BOB], need=need)
    await request_cancel(here.engine, "consult.1")

    assert (await here.ended())["result"] == {"decision": "cancelled", "answers": []}
    for person in (ADA, BOB):
        assert "withdrawn" in seen(await here.post(await here.link(person)), 410)


@pytest.mark.usefixtures("hurried")
async def test_a_mail_server_that_is_away_is_waited_for(here: Desk) -> None:
    here.letters.outages = 1
    link = await here.ask()

    assert (await here.post(link)).status_code == 303
    assert who(await here.ended()) == [(ADA, "approve")]


async def test_an_address_that_the_mail_server_refuses_ends_the_workflow_with_its_reason(here: Desk) -> None:
    here.letters.error = StepRefused("the mail server answered 550 no such person")
    await here.start(consult, "1", people=[ADA, BOB], need="all")

    ended = await here.ended()
    assert ended["state"] == "failed"
    assert "550 no such person" in ended["error"]["message"]
    assert await here.state("consult.1:1") == await here.state("consult.1:2") == "resolved"


async def test_no_token_and_no_code_rests_in_the_store(here: Desk) -> None:
    link = await here.ask(code=True, remind_after=0.5)
    await here.letter(number=1)
    code = code_in((await here.letter()).text)
    await here.post(link, code="WRONGWRONG")
    await here.post(link, code=code)
    ended = await here.ended(steps=True)

    kept = [await here.engine.promises.get(step["id"]) for step in ended["steps"]]
    wait = await here.engine.promises.get("consult.1:1")
    reminders = [companion_id(wait, f"remind0.{number}") for number in (1, 2)]
    kept += [await here.engine.promises.get(reminder) for reminder in reminders]
    text = repr(kept)
    assert "Ship it?" in text
    assert link.rpartition("/")[2] not in text
    assert code not in text
    assert code.replace("-", "") not in text


@pytest.mark.parametrize("people", [[], [ADA, ADA], [ADA, ADA.upper()], ["no address"], [f"{n}@x" for n in range(51)]])
async def test_a_question_needs_people_each_once(people: list[str]) -> None:
    with pytest.raises(ValueError, match=r"people|address"):
        await ask_people(None, "a", Question(title="?"), people)  # type: ignore[arg-type]


async def test_an_answer_that_was_not_given_on_our_page_is_nobodys_decision(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        await here.ask()
        wait = await here.engine.promises.get("consult.1:1")
        outcome = Outcome(kind="approve", callback="question", by="approver", body="{}", subject=ADA)
        await resolve(here.engine.promises, wait.id, ikey="a", outcome=outcome, opened=opened_at(wait))
        ended = await here.ended()

    assert ended["state"] == "failed"
    assert ended["error"] == {"message": "the answer to 'question' is not one that was given on our page"}
