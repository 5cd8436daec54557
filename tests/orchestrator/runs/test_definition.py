"""Defining workflows and finding them: what is taken, and what is refused before anything runs."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel
from support.garbage import leaving_none
from support.plant import pause, plant

from orchestrator import Context, group_step, open_callback, step, workflow
from orchestrator.errors import Misdefined
from orchestrator.runs.cancel_watch import FIRST_LOOK
from orchestrator.runs.definition import field_of

if TYPE_CHECKING:
    from pathlib import Path


class Request(BaseModel):
    """An input."""

    n: int = 0


@workflow()
async def plain(ctx: Context, request: Request) -> Any:
    """Return what it was given.

    More of this is not shown.
    """
    return [ctx.info.id, request.n, request]


def test_a_workflow_is_named_after_its_function_and_summed_up_by_its_docstring() -> None:
    assert (plain.name, plain.summary, plain.request, plain.group) == (
        "plain",
        "Return what it was given.",
        Request,
        "default",
    )


@pytest.mark.parametrize("name", ["", "a b", "a.b", "a:b", "x" * 65, "é"])
def test_a_name_that_could_not_be_in_an_id_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        workflow(name=name)(plain.body)


def test_a_function_of_another_shape_is_refused() -> None:
    async def without_request(ctx: Context) -> None: ...
    async def without_model(ctx: Context, request: dict[str, int]) -> None: ...
    def not_async(ctx: Context, request: Request) -> None: ...

    for body in (without_request, without_model, not_async):
        with pytest.raises(TypeError, match=body.__name__):
            workflow()(body)  # type: ignore[arg-type]


@pytest.mark.parametrize("timeout", [5, timedelta(0), None])
def test_a_timeout_that_ends_a_workflow_at_once_or_is_no_time_is_refused(timeout: Any) -> None:
    with pytest.raises(Misdefined, match="timeout is a timedelta of more than 0"):
        workflow(timeout=timeout)


def test_a_decorator_without_its_parentheses_is_refused() -> None:
    async def pay(ctx: Context, request: Request) -> None: ...

    with pytest.raises(Misdefined, match=r"write @workflow\(\) with parentheses"):
        workflow(pay)

    with pytest.raises(Misdefined, match=r'write @group_step\("db"\)'):
        group_step(pay)  # type: ignore[arg-type]


def test_a_model_that_the_module_does_not_define_is_named() -> None:
    async def pay(ctx: Context, request: Elsewhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(Misdefined, match="does not define: Elsewhere"):
        workflow()(pay)


async def test_a_result_may_hold_what_pydantic_can_write(tmp_path: Path) -> None:
    async with plant(tmp_path, "memory://", plain) as works:
        await works.start("a", n=7)

        assert await works.ended("a") == ("succeeded", ["plain.a", 7, {"n": 7}])


async def test_a_stored_input_that_fits_no_more_fails_the_workflow_and_names_the_field(tmp_path: Path) -> None:
    async with plant(tmp_path, "memory://", plain) as works:
        await works.start("a", n="not a number, but secret")
        state, error = await works.ended("a")

    assert state == "failed"
    assert "n" in error["message"].rpartition(":")[2]
    assert "secret" not in error["message"]


def test_a_field_is_named_with_its_place() -> None:
    assert field_of(("items", 2)) == "items.2"
    assert field_of(()) == "input"


class Named(BaseModel):
    """A name."""

    name: str


@step()
async def greeted(_ctx: Context, name: str) -> str:
    """Return a greeting."""
    return f"hello {name}"


@workflow()
async def waits(ctx: Context, request: Named) -> Any:
    """Do a step, wait for an answer, and leave another wait open."""
    left = await open_callback(ctx, "left", deadline=timedelta(days=1))
    assert left.name == "left"
    callback = await open_callback(ctx, "answer", deadline=timedelta(days=1))
    await callback

    return await ctx.run(greeted, request.name)


async def test_a_run_leaves_no_cycles_for_the_garbage_collector(tmp_path: Path) -> None:
    async with plant(tmp_path, "memory://", waits) as one:
        await one.start("first", name="ada")
        await one.opened("waits.first:2")

        with leaving_none("orchestrator.durable"):
            for number in range(5):
                await one.start(f"{number}", name="ada")
                await one.opened(f"waits.{number}:2")
                await one.answer(f"waits.{number}:2", name="answer")
                assert await one.ended(f"{number}") == ("succeeded", "hello ada")

            # Until its time has come, the loop keeps a cancelled timer, and what that was set from.
            await pause(FIRST_LOOK + 0.2)
