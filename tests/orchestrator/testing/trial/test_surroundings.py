"""What stands in for dependencies in a trial, and which workflows it has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from unittest.mock import AsyncMock

import pytest
from pydantic import BaseModel

from orchestrator import Context, WorkflowFailed, dependency, workflow
from orchestrator.errors import DependencyUnusable
from orchestrator.testing import Trial
from orchestrator.workflows import summarize_website


class Payment(BaseModel):
    order: str


class Bank:
    """What the workflow needs."""

    async def pay(self, order: str) -> str:
        return f"paid {order}"


@dependency
async def real_bank() -> AsyncIterator[Bank]:
    yield Bank()


@workflow()
async def pay(ctx: Context, request: Payment) -> Any:
    return await ctx.run(order_payment, request.order)


@workflow()
async def in_the_same_module(ctx: Context, request: Payment) -> str:
    return "started"


async def order_payment(ctx: Context, order: str) -> str:
    return await ctx.get_dependency(Bank).pay(order)


async def test_a_function_that_is_no_workflow_is_refused() -> None:
    with pytest.raises(TypeError, match="@workflow"):
        Trial(order_payment)  # type: ignore[arg-type]

    with pytest.raises(TypeError, match="at least one workflow"):
        Trial()


class Fake(Bank):
    async def pay(self, order: str) -> str:
        return f"pretended to pay {order}"


class Duck:
    async def pay(self, order: str) -> str:
        return f"quacked {order}"


def mocked() -> AsyncMock:
    mock = AsyncMock(spec=Bank)
    mock.pay.return_value = "mocked"

    return mock


async def made() -> AsyncIterator[Bank]:
    yield Fake()


@pytest.mark.parametrize(
    ("given", "paid"),
    [
        ([], "paid 1"),
        ([Fake()], "pretended to pay 1"),
        ([mocked()], "mocked"),
        ([made], "pretended to pay 1"),
        ([dependency(made)], "pretended to pay 1"),
        ({Bank: Duck()}, "quacked 1"),
    ],
)
async def test_a_double_stands_in_for_a_dependency(given: Any, paid: str) -> None:
    async with Trial(pay, dependencies=given) as trial:
        run = await trial.start(pay, {"order": "1"})
        assert await run.result() == paid


async def test_what_nothing_gives_fails_the_step_with_the_way_to_give_it() -> None:
    @workflow()
    async def needing(ctx: Context, request: Payment) -> None:
        await ctx.run(need)

    async def need(ctx: Context) -> None:
        ctx.get_dependency(Duck)

    async with Trial(needing) as trial:
        run = await trial.start(needing, {"order": "1"})
        await trial.advance(timedelta(minutes=10))

        with pytest.raises(WorkflowFailed, match=r"no dependency gives Duck: .* Trial\(dependencies="):
            await run.result()


async def test_a_dependency_that_cannot_be_opened_fails_the_trial() -> None:
    async def closed() -> AsyncIterator[Bank]:
        raise OSError("no bank today")
        yield Bank()  # type: ignore[unreachable]

    with pytest.raises(DependencyUnusable, match="the dependency closed"):
        await Trial(pay, dependencies=[closed]).__aenter__()


async def test_the_workflows_of_the_same_module_can_be_started_too() -> None:
    async with Trial(pay) as trial:
        assert await (await trial.start("in_the_same_module", {"order": "1"})).result() == "started"


async def test_a_trial_fetches_no_page_from_the_network() -> None:
    async with Trial(summarize_website) as trial:
        run = await trial.start(summarize_website, {"url": "http://8.8.8.8/", "reviewer": "ada@example.org"})

        with pytest.raises(WorkflowFailed, match=r"a trial has no network: pass Pages that know http://8\.8\.8\.8/"):
            await run.result()
