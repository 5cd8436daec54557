"""A deploy in a trial: several versions of a workflow, and other code under a run that is open."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from orchestrator import Context, open_callback, workflow
from orchestrator.testing import Trial, TrialError


class Order(BaseModel):
    number: int


def ordering(*steps: Any, version: int = 1) -> Any:
    @workflow(name="order", version=version)
    async def order(ctx: Context, request: Order) -> list[str]:
        done = [await ctx.run(each) for each in steps]
        await (await open_callback(ctx, "bank"))

        return done

    return order


async def charge(ctx: Context) -> str:
    return "charged"


async def reserve(ctx: Context) -> str:
    return "reserved"


OLD, NEW, UNFIT = ordering(charge), ordering(reserve, charge, version=2), ordering(reserve)


@pytest.mark.parametrize("everywhere", [False, True])
async def test_a_run_that_is_open_during_a_deploy_ends_under_its_own_version(everywhere: bool) -> None:  # noqa: FBT001
    async with Trial(OLD, crash_everywhere=everywhere) as trial:
        old = await trial.start(OLD, {"number": 1})
        await trial.deploy(OLD, NEW)
        new = await trial.start("order", {"number": 2})

        for run in (old, new):
            await (await run.waiting("bank")).succeed(None)

        assert await old.result() == ["charged"]
        assert await new.result() == ["reserved", "charged"]


@pytest.mark.parametrize("given", [(OLD, NEW), (NEW, OLD)])
async def test_a_definition_starts_its_own_version_and_the_name_the_highest(given: tuple[Any, ...]) -> None:
    async with Trial(*given) as trial:
        runs = [await trial.start(each, {"number": 1}) for each in (OLD, NEW, "order")]

        for run in runs:
            await (await run.waiting("bank")).succeed(None)

        assert [len(await run.result()) for run in runs] == [1, 2, 2]


async def test_a_run_that_does_not_fit_the_deployed_code_says_so_and_goes_on_under_code_that_fits() -> None:
    says = 'its code was changed: step 1 is recorded as "charge", the code now calls "reserve"'

    async with Trial(OLD) as trial:
        run = await trial.start(OLD, {"number": 1})
        await trial.deploy(UNFIT)
        await (await run.waiting("bank")).succeed(None)

        with pytest.raises(TrialError, match=says):
            await run.result()

        with pytest.raises(TrialError, match=says):
            await run.waiting("shipping")

        assert await run.state() == "running"
        await trial.deploy(OLD)
        await trial.advance(timedelta(minutes=5))

        assert await run.result() == ["charged"]


async def test_what_a_deploy_leaves_out_is_gone() -> None:
    async with Trial(OLD, NEW) as trial:
        await trial.deploy(OLD)

        with pytest.raises(LookupError, match="no workflow 'order' with this definition; it has: order"):
            await trial.start(NEW, {"number": 1})

        with pytest.raises(ValueError, match="two workflows have the same name: order"):
            await trial.deploy(OLD, UNFIT)


async def test_a_run_whose_version_is_deployed_no_longer_goes_on_under_the_next_one() -> None:
    async with Trial(OLD) as trial:
        run = await trial.start(OLD, {"number": 1})
        await trial.deploy(ordering(charge, version=3))
        await (await run.waiting("bank")).succeed(None)

        assert await run.result() == ["charged"]
