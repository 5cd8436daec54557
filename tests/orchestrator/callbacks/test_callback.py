"""Waits in workflows of the tests' own, on every engine: opened, answered, expired, withdrawn, cancelled."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel
from support.plant import Plant, pause, plant

from orchestrator import Address, Context, WorkflowCancelled, WorkflowFailed, open_callback, workflow
from orchestrator.callbacks.address import Links
from orchestrator.callbacks.outcomes import Outcome
from orchestrator.callbacks.settlement import resolve
from orchestrator.runs.cancellation import request_cancel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from orchestrator.runs.definition import Workflow


class Request(BaseModel):
    """What these workflows are started with."""

    deadline: float = 3600
    turns: int = 1


async def token_of(ctx: Context, address: Address) -> None:
    TOKENS[address.promise_id] = await address.token(ctx)
    LINKS[address.promise_id] = await address.url(ctx)


TOKENS: dict[str, str] = {}
LINKS: dict[str, str] = {}


@workflow()
async def several(ctx: Context, request: Request) -> list[Any]:
    """Wait for several answers at once, and one after the other."""
    opened = [
        await open_callback(ctx, f"turn-{turn}", deadline=timedelta(seconds=request.deadline))
        for turn in range(request.turns)
    ]

    for callback in opened:
        await ctx.run(token_of, callback.address)

    return [(await callback).kind for callback in opened]


@workflow()
async def careless(ctx: Context, request: Request) -> str:
    """Open a callback and end without it."""
    _ = await open_callback(ctx, "forgotten", deadline=timedelta(seconds=request.deadline))

    if request.turns > 1:
        raise WorkflowFailed("gave up", reason=7)

    return "done"


@workflow()
async def sleeper(ctx: Context, request: Request) -> str:
    """Sleep for long, and compensate when that is cut short."""
    try:
        await ctx.sleep(timedelta(seconds=request.deadline))
    except WorkflowCancelled:
        await ctx.run(compensate)
        raise

    return "slept"


async def compensate(ctx: Context) -> None:
    COMPENSATED.add(ctx.info.origin_id)


COMPENSATED: set[str] = set()


@workflow()
async def lengthy(ctx: Context, request: Request) -> str:
    """Do one step that takes its time."""
    del request
    return str(await ctx.run(take_time))


async def take_time(ctx: Context) -> str:
    BEGUN.append(ctx.info.origin_id)
    await pause(0.5)
    return "done"


BEGUN: list[str] = []


@pytest.fixture
async def works(tmp_path: Path, engine_url: str, request: pytest.FixtureRequest) -> AsyncIterator[Plant]:
    # The same ids come again on every engine, under other keys.
    TOKENS.clear()
    LINKS.clear()
    chosen: Workflow[Any] = getattr(request, "param", several)
    async with plant(tmp_path, engine_url, chosen) as one:
        yield one


def with_workflow(chosen: Workflow[Any]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("works", [chosen], indirect=True, ids=[chosen.name])


async def test_waits_opened_together_are_answered_in_any_order(works: Plant) -> None:
    await works.start("a", turns=3)

    for turn in (2, 0, 1):
        await works.opened(f"{works.root('a')}:{turn + 1}")
        await works.answer(f"{works.root('a')}:{turn + 1}", name=f"turn-{turn}")

    assert await works.ended("a") == ("succeeded", ["succeeded"] * 3)


async def test_a_wait_closes_at_its_deadline_by_itself_and_a_late_answer_finds_it_closed(works: Plant) -> None:
    await works.start("a", deadline=1.5)

    assert await works.ended("a") == ("succeeded", ["expired"])
    assert (await works.answer(f"{works.root('a')}:1", name="turn-0")).verdict == "closed"


async def test_an_answer_that_races_the_deadline_follows_the_record(works: Plant) -> None:
    await works.start("a", deadline=4, turns=20)
    waits = [f"{works.root('a')}:{turn + 1}" for turn in range(20)]
    opened = [await works.opened(wait) for wait in waits]
    due = max(record.timeout_at for record in opened)
    verdicts = {}

    for turn, wait in enumerate(waits):
        verdicts[turn] = (await works.answer(wait, name=f"turn-{turn}")).verdict

        if turn == 9:
            await pause(max(0, due / 1000 - works.now()) + 0.01)

    _, kinds = await works.ended("a")
    told = ["succeeded" if verdicts[turn] == "applied" else "expired" for turn in range(20)]
    assert kinds == told
    assert set(verdicts.values()) == {"applied", "closed"}


async def test_an_answer_to_another_question_fails_the_workflow(works: Plant) -> None:
    await works.start("a")
    await works.opened(f"{works.root('a')}:1")
    await works.answer(f"{works.root('a')}:1", name="the-name-before-the-deploy")

    state, error = await works.ended("a")
    assert state == "failed"
    assert "the-name-before-the-deploy" in error["message"]


async def test_of_many_different_answers_at_once_one_is_applied(works: Plant) -> None:
    await works.start("a")
    wait = (await works.opened(f"{works.root('a')}:1")).id
    settlements = await asyncio.gather(
        *(
            resolve(
                works.engine.promises,
                wait,
                ikey=str(n),
                outcome=Outcome(kind="succeeded", callback="turn-0", by="callback", body=str(n)),
            )
            for n in range(50)
        )
    )

    assert sorted(one.verdict for one in settlements) == ["applied"] + ["other"] * 49
    assert len({one.settled.outcome.body for one in settlements}) == 1


async def test_the_same_wait_gives_the_same_link_and_it_holds_the_deadline(works: Plant) -> None:
    await works.start("a", deadline=100)
    record = await works.opened(wait := f"{works.root('a')}:1")

    while wait not in LINKS:
        await pause(0.02)

    links: Links = works.engine.resonate._deps.get(Links)
    claims = links.signer.verify(TOKENS[wait], audience="machine")
    assert claims.expires_at == -(-record.timeout_at // 1000)
    assert links.url(claims) == LINKS[wait]
    assert LINKS[wait].rpartition("/")[2] == TOKENS[wait]


@with_workflow(careless)
@pytest.mark.parametrize(("turns", "state"), [(1, "succeeded"), (2, "failed")])
async def test_a_wait_that_nobody_awaits_is_withdrawn_when_the_workflow_ends(
    works: Plant, turns: int, state: str
) -> None:
    await works.start("a", turns=turns)

    assert (await works.ended("a"))[0] == state
    assert (await works.answer(f"{works.root('a')}:1", name="forgotten")).verdict == "closed"


@with_workflow(careless)
async def test_a_workflow_may_end_itself_with_more_to_say(works: Plant) -> None:
    await works.start("a", turns=2)

    assert await works.ended("a") == ("failed", {"message": "gave up", "reason": 7})


@with_workflow(sleeper)
async def test_a_cancel_cuts_a_sleep_short_and_lets_the_workflow_compensate(works: Plant) -> None:
    COMPENSATED.clear()
    await works.start("a")
    await works.opened(f"{works.root('a')}:1")
    assert not COMPENSATED
    assert await request_cancel(works.engine, works.root("a"))

    assert (await works.ended("a"))[0] == "cancelled"
    assert {works.root("a")} == COMPENSATED


async def test_a_cancel_asked_for_before_the_wait_was_open_still_reaches_it(works: Plant) -> None:
    await works.start("a", turns=1)
    await request_cancel(works.engine, works.root("a"))

    assert await works.ended("a") == ("cancelled", ["cancelled"])
    assert json.loads((await works.end("a")).error or "") == {"message": "the workflow was cancelled"}


async def test_a_step_that_is_under_way_when_the_worker_stops_is_finished_and_not_repeated(
    tmp_path: Path, engine_url: str
) -> None:
    if engine_url == "memory://":
        pytest.skip("an engine in memory does not outlive its worker")

    BEGUN.clear()

    async with plant(tmp_path, engine_url, lengthy) as stopping:
        await stopping.start("a")

        while not BEGUN:
            await pause(0.01)

    async with plant(tmp_path, engine_url, lengthy) as works:
        assert await works.ended("a") == ("succeeded", "done")

    assert BEGUN == ["lengthy.a"]
