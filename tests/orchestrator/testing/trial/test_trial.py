"""A trial is what an author's test needs: the real thing, in memory, under a clock of its own."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from orchestrator import (
    Address,
    Context,
    Question,
    WorkflowCancelled,
    WorkflowExpired,
    WorkflowFailed,
    ask_people,
    dependency,
    group_step,
    open_callback,
    workflow,
)
from orchestrator.testing import Trial, TrialError

ADA, BOB = "ada@example.org", "bob@example.org"


class Payment(BaseModel):
    order: str
    cents: int = 100


class Bank:
    """What the tests' workflows need; it counts the tries of each step."""

    def __init__(self) -> None:
        self.tries: list[str] = []
        self.broken = 0

    async def pay(self, order: str) -> str:
        self.tries.append(order)

        if self.broken:
            self.broken -= 1
            raise ConnectionError("the bank is closed")

        return f"paid {order}"


@dependency
async def real_bank() -> AsyncIterator[Bank]:
    yield Bank()


@workflow()
async def pay(ctx: Context, request: Payment) -> dict[str, Any]:
    """Pay, wait for the bank's answer, and wait for another day."""
    paid = await ctx.run(order_payment, request.order)
    bank = await open_callback(ctx, "bank", deadline=timedelta(days=3))
    await ctx.run(write_to_bank, bank.address)
    outcome = await bank
    await ctx.sleep(timedelta(days=1))

    if not outcome.succeeded:
        raise WorkflowFailed(outcome.message or outcome.kind, order=request.order)

    return {"paid": paid, "reference": outcome.value, "limit": await ctx.call(limit, request.cents)}


async def order_payment(ctx: Context, order: str) -> str:
    return await ctx.get_dependency(Bank).pay(order)


async def write_to_bank(ctx: Context, address: Address) -> None:
    await address.url(ctx)


@group_step("db")
async def limit(_: Context, cents: int) -> int:
    return cents * 2


@workflow()
async def waiting_in_real_time(ctx: Context, request: Payment) -> str:
    return f"{await ctx.run(nap)} and {await ctx.run(in_a_thread)}"


async def nap(_: Context) -> str:
    await asyncio.sleep(0.02)

    return "slept"


async def in_a_thread(_: Context) -> str:
    return await asyncio.to_thread(lambda: threading.current_thread().name[:7])


@workflow()
async def asking(ctx: Context, request: Payment) -> str:
    asked = await ask_people(
        ctx,
        "refund",
        Question(title=f"Refund {request.order}?"),
        [ADA, BOB],
        deadline=timedelta(days=10),
        remind_after=timedelta(days=2),
    )

    return asked.decision


async def test_a_workflow_is_tested_in_ten_lines() -> None:
    async with Trial(pay, dependencies=[Bank()]) as trial:
        run = await trial.start(pay, Payment(order="4711"))
        bank = await run.waiting("bank")
        await bank.succeed("T-1")
        await trial.advance(timedelta(days=1))

        assert await run.result() == {"paid": "paid 4711", "reference": "T-1", "limit": 200}


def test_it_needs_no_test_runner() -> None:
    async def main() -> Any:
        async with Trial(pay) as trial:
            run = await trial.start("pay", {"order": "1"}, id="a")
            await (await run.waiting("bank")).fail("account closed")
            await trial.advance(timedelta(days=1))

            with pytest.raises(WorkflowFailed, match="account closed") as raised:
                await run.result()

            return raised.value.error

    assert asyncio.run(main()) == {"message": "account closed", "order": "1"}


async def test_it_opens_no_file_and_no_socket() -> None:
    opened: list[tuple[str, Any]] = []
    watched = {"open", "socket.__new__", "socket.connect", "socket.bind", "socket.getaddrinfo", "sqlite3.connect"}
    watching = True

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and event in watched:
            opened.append((event, arguments[0]))

    sys.addaudithook(watch)  # for the rest of the process: Python removes none

    try:
        async with Trial(asking, crash_everywhere=True) as trial:
            run = await trial.start(asking, {"order": "1"})
            await trial.advance(timedelta(days=3))
            await (await run.waiting("refund")).decide("approve", by=ADA)
            assert await run.result() == "approve"
    finally:
        watching = False

    assert {one for one in opened if not str(one[1]).endswith((".py", ".pyc"))} == {("sqlite3.connect", ":memory:")}


async def test_a_step_that_fails_is_tried_again_on_the_trials_clock() -> None:
    bank = Bank()
    bank.broken = 3

    async with Trial(pay, dependencies=[bank]) as trial:
        run = await trial.start(pay, {"order": "1"})
        assert len(bank.tries) == 1

        with pytest.raises(
            TrialError,
            match=r"its step 'order_payment' failed in try 1 with ConnectionError at test_trial.py:",
        ):
            await run.result()

        await trial.advance(timedelta(minutes=1))
        assert len(bank.tries) == 4
        assert (await run.waiting("bank")).callback == "bank"


async def test_what_a_step_waits_for_outside_is_waited_for() -> None:
    async with Trial(waiting_in_real_time) as trial:
        run = await trial.start(waiting_in_real_time, {"order": "1"})

        assert await run.result() == "slept and asyncio"


async def test_everything_that_is_due_happens_at_its_own_moment() -> None:
    async with Trial(asking) as trial:
        begun = trial.now
        run = await trial.start(asking, {"order": "1"})
        await trial.advance(timedelta(days=11))

        assert await run.result() == "expired"
        assert trial.now == begun + timedelta(days=11)
        # At once, and after 2, 4, 6 and 8 days; the fifth reminder would come with the deadline.
        assert [mail.subject for mail in trial.mail if mail.to == BOB] == [
            "Refund 1?",
            *["Reminder: Refund 1?"] * 4,
        ]


async def test_a_workflow_that_expires_raises_it() -> None:
    @workflow(timeout=timedelta(hours=1))
    async def short(ctx: Context, request: Payment) -> None:
        await ctx.sleep(timedelta(days=9))

    async with Trial(short) as trial:
        run = await trial.start(short, {"order": "1"})
        await trial.advance(timedelta(hours=1))

        with pytest.raises(WorkflowExpired):
            await run.result()


async def test_a_cancel_is_the_real_one() -> None:
    async with Trial(asking) as trial:
        run = await trial.start(asking, {"order": "1"})
        await run.cancel()
        await trial.advance(timedelta(minutes=5))

        with pytest.raises(WorkflowCancelled):
            await run.result()


async def test_after_a_cancel_a_step_that_failed_is_not_tried_again() -> None:
    async with Trial(pay, dependencies=[bank := Bank()]) as trial:
        bank.broken = 1
        run = await trial.start(pay, {"order": "1"})
        await run.cancel()
        await trial.advance(timedelta(hours=1))

        with pytest.raises(WorkflowCancelled):
            await run.result()

        assert bank.tries == ["1"]


async def test_a_cancelled_workflow_raises_it() -> None:
    @workflow()
    async def breaking(ctx: Context, request: Payment) -> None:
        if (await (await open_callback(ctx, "bank"))).kind == "cancelled":
            raise WorkflowCancelled("undone", undone=1)

    async with Trial(breaking) as trial:
        run = await trial.start(breaking, {"order": "1"})
        await run.cancel()

        with pytest.raises(WorkflowCancelled, match="undone") as raised:
            await run.result()

        assert raised.value.error["undone"] == 1


async def test_the_same_id_is_the_same_run_unless_the_input_differs() -> None:
    async with Trial(pay, dependencies=[bank := Bank()]) as trial:
        await trial.start(pay, {"order": "1"}, id="a")
        run = await trial.start(pay, Payment(order="1", cents=100), id="b")
        await trial.start(pay, {"cents": 100, "order": "1"}, id="b")
        assert (run.id, len(bank.tries)) == ("b", 2)

        with pytest.raises(ValueError, match="started under the id 'b' with another input"):
            await trial.start(pay, {"order": "2"}, id="b")

        assert (await trial.run("pay", "b").waiting("bank")).callback == "bank"


@pytest.mark.parametrize("wrong", [{}, {"order": 1}, {"order": "1", "unknown": 1}])
async def test_an_input_that_the_api_would_refuse_is_refused(wrong: dict[str, Any]) -> None:
    async with Trial(pay) as trial:
        with pytest.raises(ValidationError):
            await trial.start(pay, wrong)


async def test_what_cannot_be_started_is_refused_with_what_there_is() -> None:
    async with Trial(pay) as trial:
        with pytest.raises(LookupError, match=r"no workflow 'ship'; it has: asking, pay, waiting_in_real_time"):
            await trial.start("ship", {})

        with pytest.raises(ValueError, match="not 'a/b'"):
            await trial.start(pay, {"order": "1"}, id="a/b")


async def test_two_trials_at_the_same_time_know_nothing_of_each_other() -> None:
    async def one(order: str) -> Any:
        async with Trial(pay) as trial:
            run = await trial.start(pay, {"order": order}, id="same")
            await (await run.waiting("bank")).succeed(order)
            await trial.advance(timedelta(days=1))

            return (await run.result())["reference"]

    assert await asyncio.gather(*(one(str(number)) for number in range(5))) == ["0", "1", "2", "3", "4"]
    assert asyncio.get_running_loop().get_task_factory() is None
