"""What can be a step, and which arguments it takes."""

from __future__ import annotations

import asyncio
import functools
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest
from pydantic import BaseModel

from orchestrator import Context, Misused, Step, group_step, step, workflow
from orchestrator.durable.group_steps import check_group_step
from orchestrator.durable.policy import Policy
from orchestrator.durable.steps import as_step
from orchestrator.errors import Misdefined

if TYPE_CHECKING:
    from collections.abc import Callable


class Nothing(BaseModel):
    """No input."""


class Point(BaseModel):
    """A model."""

    x: int


@step(tries=3, never_retry=(KeyError,), timeout=timedelta(seconds=5), stored=False)
async def charge(ctx: Context, order: str, *, cents: int = 1) -> str:
    return f"{order} {cents}"


@group_step("db")
async def history(ctx: Context, order: str) -> int:
    return 7


@workflow()
async def fulfil(ctx: Context, request: Nothing) -> None: ...


async def plain(ctx: Context, order: str) -> int:
    return 7


class Sender:
    """An object that can be a step."""

    async def __call__(self, ctx: Context, order: str) -> str:
        return order

    async def send(self, ctx: Context, order: str) -> str:
        return order


async def test_a_step_has_its_policy_and_is_the_plain_function_when_it_is_called() -> None:
    assert isinstance(charge, Step)
    assert charge.policy == Policy(tries=3, never_retry=(KeyError,), timeout=5.0)
    assert (charge.name, charge.stored) == ("charge", False)
    assert await charge(None, "4711", cents=2) == "4711 2"  # type: ignore[arg-type]


def test_a_step_without_parentheses_or_without_the_decorator_has_the_defaults() -> None:
    assert step(plain).policy == as_step(plain).policy == Policy(tries=8, never_retry=(), timeout=None)
    assert as_step(charge) is charge


@pytest.mark.parametrize("given", [Sender(), Sender().send, functools.partial(plain, order="a")])
def test_whatever_is_called_like_an_async_function_can_be_a_step(given: Callable[..., Any]) -> None:
    assert as_step(given).name in {"Sender", "send", "plain"}


def no_coroutine(ctx: Context) -> int:
    return 7


def yields(ctx: Context) -> Any:
    yield 7


async def yields_later(ctx: Context) -> Any:
    yield 7


async def takes_nothing() -> None: ...


async def takes_only_names(*, ctx: Context) -> None: ...


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (no_coroutine, "the step no_coroutine must be an async function: async def no_coroutine(ctx)"),
        (lambda ctx: plain(ctx, "a"), "the step <lambda> must be an async function: async def step(ctx)"),
        (yields, "the step yields must be an async function that returns its result; it yields"),
        (yields_later, "the step yields_later must be an async function that returns its result; it yields"),
        (takes_nothing, "the step takes_nothing must take ctx as its first parameter"),
        (takes_only_names, "the step takes_only_names must take ctx as its first parameter"),
        (history, "history belongs to the worker group db: write await ctx.call(history, ...)"),
        (fulfil, "fulfil is a workflow: write await run_workflow(ctx, fulfil, request)"),
        ("charge", "a step is an async function that takes ctx first, not the name 'charge'"),
        (7, "a step is an async function that takes ctx first, not an object of the type int"),
        (None, "not an object of the type NoneType"),
    ],
)
def test_what_is_no_step_is_refused_with_what_is_needed_instead(given: Any, text: str) -> None:
    with pytest.raises(Misused) as refused:
        as_step(given)

    assert text in str(refused.value)

    if given is not None:
        with pytest.raises(Misdefined):
            step(given)


def test_a_step_that_was_called_already_is_refused() -> None:
    with pytest.raises(Misused, match=r"pass the step plain itself, .*: plain\(\.\.\.\) has called it already"):
        as_step(plain(None, "4711"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("args", "kwargs", "text"),
    [
        ((), {}, "the step charge takes order, cents after ctx: missing a required argument: 'order'"),
        (("a", 1), {}, "the step charge takes order, cents after ctx: too many positional arguments"),
        (
            ("a",),
            {"euros": 1},
            "order, cents after ctx: got an unexpected keyword argument 'euros'",
        ),
        (("a",), {"order": "b"}, "multiple values for argument 'order'"),
        (("a",), {"a body": 1}, "an argument has a name that no parameter can have"),
    ],
)
def test_arguments_that_do_not_fit_are_named_with_the_step(args: Any, kwargs: dict[str, Any], text: str) -> None:
    with pytest.raises(TypeError) as refused:
        charge.check_arguments(*args, **kwargs)

    assert text in str(refused.value)


def test_positional_only_and_repeated_parameters_are_checked_too() -> None:
    async def odd(ctx: Context, first: int, /, *rest: int, last: int = 0) -> None: ...

    as_step(odd).check_arguments(1, 2, 3, last=4)

    with pytest.raises(Misused, match=r"first, rest, last after ctx: got some positional-only .* 'first'"):
        as_step(odd).check_arguments(first=1)


def test_a_group_step_checks_its_arguments_too_and_a_plain_step_is_none() -> None:
    history.check_arguments("a")

    with pytest.raises(Misused, match="the step history takes order after ctx: missing a required argument: 'order'"):
        history.check_arguments()

    with pytest.raises(Misused, match=r"plain belongs to no worker group: write await ctx\.run\(plain, \.\.\.\)"):
        check_group_step(plain)  # type: ignore[arg-type]


def test_a_result_is_made_what_its_annotation_says() -> None:
    async def models(ctx: Context) -> list[Point]:
        return [Point(x=1)]

    found = as_step(models)

    assert found.read_result([{"x": 1}]) == [Point(x=1)]
    found.check_result([Point(x=1)])
    as_step(yields_nothing).check_result(object())


async def yields_nothing(ctx: Context) -> Any: ...


async def whole(ctx: Context) -> int:
    return 7


def test_a_result_that_does_not_fit_its_annotation_is_named() -> None:
    with pytest.raises(Misused, match="the result of whole does not fit its annotation int"):
        as_step(whole).check_result("seven")


async def test_a_decorator_may_make_a_step_of_a_plain_function() -> None:
    def double(ctx: Any, number: int) -> int:
        return 2 * number

    @functools.wraps(double)
    async def in_a_thread(ctx: Any, number: int) -> int:
        return await asyncio.to_thread(double, ctx, number)

    assert await step(in_a_thread)(cast("Any", None), 4) == 8
    assert as_step(in_a_thread).name == "double"
