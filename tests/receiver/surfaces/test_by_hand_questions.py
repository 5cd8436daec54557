"""Questions to people that an operator answers by hand, on every engine: nobody takes it for a person's decision."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.approving import ADA, BOB, Desk, consult, desk, seen
from support.by_hand import REASON, answer
from support.edge import problem

from orchestrator.workflows import approve_and_ship

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

QUESTION = "consult/1/callbacks/question"


@pytest.fixture
async def here(tmp_path: Path, engine_url: str) -> AsyncIterator[Desk]:
    async with desk(tmp_path, engine_url) as one:
        yield one


async def test_a_question_answered_by_hand_is_never_taken_for_one_of_the_people(here: Desk) -> None:
    link = await here.ask(people=[ADA, BOB], code=True)
    assert (await answer(here, QUESTION, "approve")).status_code == 200

    ended = await here.ended(steps=True)
    given = ended["result"]["answers"][0]
    assert (given["person"], given["decision"], given["comment"], given["reason"]) == (
        "operator:tests",
        "approve",
        REASON,
        REASON,
    )
    recorded = ended["steps"][0]["approval"]["answer"]
    assert (recorded["person"], recorded["by"], recorded["operator"]) == (None, "operator", "tests")
    assert (recorded["decision"], recorded["reason"]) == ("approve", REASON)
    assert recorded["digest"] == ended["steps"][0]["approval"]["digest"]

    shown = seen(await here.client.get(link))
    assert "None of the people who were asked decided this. The operator tests recorded it by hand" in shown
    assert REASON in shown
    assert "Recorded by" not in shown
    assert "Already decided: Approved" in seen(await here.post(link, "reject"), 409)


async def test_a_comment_is_kept_beside_the_reason(here: Desk) -> None:
    for number, (body, comment) in enumerate([("so", "so"), ({"comment": "so"}, "so"), ([1], "[1]"), (None, REASON)]):
        await here.start(consult, str(number), people=[ADA])
        await here.letter(ADA, number=number)
        question = f"consult/{number}/callbacks/question"
        assert (await answer(here, question, "reject", body=body)).status_code == 200
        assert (await answer(here, question, "reject", body=body)).json()["duplicate"] is True
        problem(await answer(here, question, "reject", body="another"), 409, "already-settled")

        given = (await here.ended(str(number)))["result"]["answers"][0]
        assert (given["comment"], given["reason"]) == (comment, REASON)


async def test_only_the_decisions_of_a_question_are_allowed(here: Desk) -> None:
    await here.ask(decisions=["left", "right"])

    for wrong in ("approve", "succeeded", "failed", "cancelled"):
        refused = problem(await answer(here, QUESTION, wrong), 422, "invalid-input")
        assert "left, right" in refused["detail"]

    assert (await answer(here, QUESTION, "right")).status_code == 200


async def test_who_decided_is_an_operator_in_the_result_of_the_workflow_too(here: Desk) -> None:
    await here.start(approve_and_ship, "7", order_id="42", approver=ADA, summary="All in stock.")
    await here.letter(ADA)
    assert (await answer(here, "approve_and_ship/7/callbacks/approval", "reject")).status_code == 200

    ended = await here.ended("7", "approve_and_ship")
    assert ended["result"] == {"status": "rejected", "decided_by": "operator:tests", "comment": REASON}
