"""How far a question to everybody is: read from the waits of the others, and only if these are surely theirs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from pydantic import BaseModel
from support.approving import ADA, BOB, CAT, desk, seen

from orchestrator import Context, Question, ask_people, workflow
from orchestrator.approvals.others import standing
from orchestrator.callbacks.question import Asked

if TYPE_CHECKING:
    from pathlib import Path

    from support.approving import Desk

    from orchestrator.approvals.others import Standing


class Nothing(BaseModel):
    """No input."""


async def standing_of(here: Desk, promise_id: str) -> Standing | None:
    promises = here.engine.promises
    asked = Asked.read(await promises.get(promise_id))
    assert asked is not None

    return await standing(promises, asked)


async def test_it_counts_who_has_answered_and_says_who_was_against_it(tmp_path: Path, engine_url: str) -> None:
    async with desk(tmp_path, engine_url) as here:
        await here.ask(people=[ADA, BOB, CAT], need="all")
        before = await standing_of(here, "consult.1:2")
        await here.post(await here.link(ADA), "approve")
        between = await standing_of(here, "consult.1:2")
        await here.post(await here.link(CAT), "reject")
        after = await standing_of(here, "consult.1:1")
        await here.ended()
        over = await standing_of(here, "consult.1:1")

    assert before is not None
    assert between is not None
    assert after is not None
    assert [(one.asked, one.answered) for one in (before, between, after)] == [(3, 0), (3, 1), (3, 2)]
    assert [before.against, between.against] == [None, None]
    assert after.against is not None
    assert after.against.outcome.subject == CAT
    assert over == after, "a question that was withdrawn is no answer"


@workflow()
async def twice(ctx: Context, request: Nothing) -> list[str]:
    """Put two questions at once, in parts of the code that each begin with their waits."""

    async def part(name: str, people: list[str]) -> str:
        return (await ask_people(ctx, name, Question(title=name), people, need="all")).decision

    return list(await asyncio.gather(part("first", [ADA, BOB, CAT]), part("second", [CAT, ADA, BOB])))


async def test_it_counts_who_has_answered_a_question_of_a_part(tmp_path: Path) -> None:
    async with desk(tmp_path, workflows=[twice]) as here:
        await here.start(twice, "1")
        links = {person: [await here.link(person, number=number) for number in (0, 1)] for person in (ADA, BOB, CAT)}
        (first,) = [link for link in links[ADA] if "first" in seen(await here.client.get(link))]
        await here.post(first, "approve")

        asked = ("twice.1:1", "twice.1:1.0.1", "twice.1:1.0.2", "twice.1:2", "twice.1:2.0.2")
        found = [await standing_of(here, promise_id) for promise_id in asked]

    assert [one and (one.asked, one.answered) for one in found] == [(3, 1), (3, 1), (3, 1), (3, 0), (3, 0)]


async def test_of_a_question_that_one_answer_settles_it_says_nothing(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        await here.ask(people=[ADA, BOB])

        assert await standing_of(here, "consult.1:1") is None


@pytest.mark.parametrize("other", ["none", "the same one again", "another question"])
async def test_if_a_neighbour_is_not_the_same_question_it_says_nothing(tmp_path: Path, other: str) -> None:
    async with desk(tmp_path) as here:
        link = await here.ask(people=[ADA, BOB], need="all")
        await here.ask("2", people=[ADA, BOB], need="all", title="Another?")
        await here.letter(BOB, number=1)
        get = here.engine.promises.get

        async def changed(promise_id: str) -> object:
            elsewhere = promise_id.replace("consult.1", "consult.2")

            return await get({"none": "consult.9:9", "the same one again": "consult.1:1"}.get(other, elsewhere))

        assert "0 of 2 have answered." in seen(await here.client.get(link))
        here.engine.promises.get = changed  # type: ignore[assignment,method-assign]
        assert await standing(here.engine.promises, Asked.read(await get("consult.1:1"))) is None  # type: ignore[arg-type]


async def test_the_pages_say_how_many_have_answered_and_who_settled_it(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        ada = await here.ask(people=[ADA, BOB, CAT], need="all")
        bob, cat = await asyncio.gather(here.link(BOB), here.link(CAT))
        assert "0 of 3 have answered." in seen(await here.client.get(bob))
        await here.post(ada, "approve")
        assert "1 of 3 have answered." in seen(await here.client.get(bob))
        assert "It goes ahead when everyone has agreed." in seen(await here.client.get(ada))
        await here.post(cat, "reject")
        await here.ended()

        closed = seen(await here.client.get(bob), 410)
        assert f"{CAT} rejected this. The question is settled without this answer." in closed
        assert "Ship it?" in closed
