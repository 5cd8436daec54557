"""A wait is answered with the token that was handed out, and refuses what the link would refuse."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from orchestrator import Address, Context, Question, ask_people, open_callback, workflow
from orchestrator.errors import NotJson
from orchestrator.testing import Trial, TrialError

ADA, BOB = "ada@example.org", "bob@example.org"


class Call(BaseModel):
    """How a callback is opened."""

    outcomes: tuple[str, ...] = ("succeeded", "failed")
    hands_out: bool = True


class Consultation(BaseModel):
    """Whom to ask, and how."""

    people: list[str] = [ADA]
    need: Literal["any", "all"] = "any"
    code: bool = False
    reason_required: list[str] = []


@workflow()
async def calling(ctx: Context, request: Call) -> Any:
    callback = await open_callback(ctx, "bank", subject="the bank", outcomes=request.outcomes)

    if request.hands_out:
        await ctx.run(hand_out, callback.address)

    outcome = await callback

    return [outcome.kind, outcome.value, outcome.by, outcome.subject]


async def hand_out(ctx: Context, address: Address) -> None:
    await address.url(ctx)


@workflow()
async def consulting(ctx: Context, request: Consultation) -> Any:
    question = Question(
        title="Ship it?",
        decisions=("approve", "later", "reject"),
        code=request.code,
        reason_required=request.reason_required,
    )
    asked = await ask_people(ctx, "ship", question, request.people, need=request.need, deadline=timedelta(days=1))

    return [asked.decision, [[one.person, one.decision, one.comment] for one in asked.answers]]


@pytest.mark.parametrize("value", [None, 7, {"a": [1.5, "ü"]}, "text"])
async def test_success_carries_any_json(value: object) -> None:
    async with Trial(calling) as trial:
        run = await trial.start(calling, Call())
        await (await run.waiting("bank")).succeed(value)

        assert await run.result() == ["succeeded", value, "callback", "the bank"]


async def test_a_failure_carries_its_message_and_details() -> None:
    async with Trial(calling) as trial:
        run = await trial.start(calling, Call())
        await (await run.waiting("bank")).fail("account closed", {"code": 7})

        assert (await run.result())[:2] == ["failed", {"message": "account closed", "details": {"code": 7}}]


async def test_what_json_cannot_hold_is_refused_here() -> None:
    async with Trial(calling) as trial:
        wait = await (await trial.start(calling, Call())).waiting("bank")

        with pytest.raises(NotJson, match="value"):
            await wait.succeed(float("nan"))

        with pytest.raises(NotJson):
            await wait.fail("no", object())


async def test_an_outcome_that_the_link_does_not_allow_is_refused() -> None:
    async with Trial(calling) as trial:
        wait = await (await trial.start(calling, Call(outcomes=("succeeded",)))).waiting("bank")

        with pytest.raises(TrialError, match="'bank' can end as succeeded, not as 'failed'"):
            await wait.fail("no")


async def test_a_link_that_no_step_handed_out_works_all_the_same() -> None:
    async with Trial(calling) as trial:
        run = await trial.start(calling, Call(hands_out=False))
        wait = await run.waiting("bank")
        assert wait.link.startswith("https://trial.invalid/callbacks/")
        await wait.succeed(1)

        assert (await run.result())[:2] == ["succeeded", 1]


async def test_the_same_answer_again_changes_nothing_and_another_one_is_refused() -> None:
    async with Trial(calling) as trial:
        wait = await (await trial.start(calling, Call())).waiting("bank")
        await wait.succeed(1)
        await wait.succeed(1)

        with pytest.raises(TrialError, match="'bank' was answered before: succeeded by callback"):
            await wait.succeed(2)


async def test_a_late_answer_is_refused() -> None:
    async with Trial(calling) as trial:
        run = await trial.start(calling, Call())
        wait = await run.waiting("bank")
        assert wait.until == trial.now + timedelta(days=1)
        await trial.advance(timedelta(days=2))

        with pytest.raises(TrialError, match="'bank' is over"):
            await wait.succeed(1)

        assert (await run.result())[0] == "expired"


async def test_of_a_question_everything_is_known() -> None:
    async with Trial(consulting) as trial:
        wait = await (await trial.start(consulting, Consultation(people=[ADA, BOB]))).waiting("ship")

        assert (wait.question and wait.question.title, wait.people) == ("Ship it?", (ADA, BOB))
        assert wait.link in trial.mail[0].links


async def test_one_persons_decision_is_recorded_with_the_comment() -> None:
    async with Trial(consulting) as trial:
        run = await trial.start(consulting, Consultation())
        await (await run.waiting("ship")).decide("later", comment="Next week.")

        assert await run.result() == ["later", [[ADA, "later", "Next week."]]]


async def test_a_decision_that_needs_a_reason_is_refused_without_a_comment() -> None:
    async with Trial(consulting) as trial:
        run = await trial.start(consulting, Consultation(reason_required=["reject"]))
        wait = await run.waiting("ship")

        with pytest.raises(TrialError, match="'reject' needs a reason: give it as comment="):
            await wait.decide("reject")

        await wait.decide("reject", comment="too late")
        assert (await run.result())[1] == [[ADA, "reject", "too late"]]


async def test_of_several_people_somebody_must_be_named() -> None:
    async with Trial(consulting) as trial:
        run = await trial.start(consulting, Consultation(people=[ADA, BOB]))
        wait = await run.waiting("ship")

        with pytest.raises(TrialError, match=f"asks {ADA}, {BOB}: say who decides, with by="):
            await wait.decide("approve")

        with pytest.raises(TrialError, match=f"asks {ADA}, {BOB}, not 'eve@example.org'"):
            await wait.decide("approve", by="eve@example.org")

        with pytest.raises(TrialError, match="can end as approve, later, reject, not as 'maybe'"):
            await wait.decide("maybe", by=ADA)

        await wait.decide("approve", by="bob@EXAMPLE.org")
        assert (await run.result())[1] == [[BOB, "approve", ""]]


async def test_all_who_must_agree_are_one_wait_under_the_questions_name() -> None:
    async with Trial(consulting) as trial:
        run = await trial.start(consulting, Consultation(people=[ADA, BOB], need="all"))
        wait = await run.waiting("ship")
        assert wait.people == (ADA, BOB)
        await wait.decide("approve", by=BOB)
        await (await run.waiting("ship")).decide("approve", by=ADA)

        assert (await run.result())[0] == "approve"


async def test_the_code_of_the_mail_is_entered_unless_another_one_is_given() -> None:
    async with Trial(consulting) as trial:
        run = await trial.start(consulting, Consultation(code=True))
        wait = await run.waiting("ship")

        with pytest.raises(TrialError, match="not the code from the mail; tries left: 4"):
            await wait.decide("approve", code="AAAA-AAAA")

        await wait.decide("approve")
        assert (await run.result())[0] == "approve"


async def test_too_many_wrong_codes_close_the_link() -> None:
    async with Trial(consulting) as trial:
        wait = await (await trial.start(consulting, Consultation(code=True))).waiting("ship")

        for guess in range(5):
            with pytest.raises(TrialError, match="not the code"):
                await wait.decide("approve", code=f"AAAA-AAA{guess + 2}")

        with pytest.raises(TrialError, match="too many wrong codes"):
            await wait.decide("approve")


async def test_machines_report_and_people_decide() -> None:
    async with Trial(calling, consulting) as trial:
        asked = await (await trial.start(consulting, Consultation())).waiting("ship")
        called = await (await trial.start(calling, Call())).waiting("bank")

        with pytest.raises(TrialError, match=f"'ship' is a question to {ADA}: answer it with decide"):
            await asked.succeed(1)

        with pytest.raises(TrialError, match="'bank' asks nobody"):
            await called.decide("approve")
