"""Mistakes that authors of workflows make: each ends its workflow with a text that names it, and none hangs.

Long because each mistake is a workflow of its own, and the list is what shows that they are all there.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import warnings
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest
from pydantic import BaseModel
from support.plant import pause, plant

from orchestrator import (
    Address,
    Context,
    Question,
    WorkflowFailed,
    ask_people,
    compensating,
    group_step,
    open_callback,
    run_job,
    run_workflow,
    step,
    workflow,
)
from orchestrator.durable import policy
from orchestrator.runs.cancellation import request_cancel
from orchestrator.testing import Trial

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchestrator.runs.definition import Workflow


class Nothing(BaseModel):
    """No input."""


class Order(BaseModel):
    """A model."""

    cents: int


async def charge(ctx: Context, order: str, *, cents: int = 1) -> str:
    return f"{order} {cents}"


async def takes_no_ctx() -> None: ...


def no_coroutine(ctx: Context) -> int:
    return 7


def generator(ctx: Context) -> Any:
    yield 7


async def async_generator(ctx: Context) -> Any:
    yield 7


@group_step("other")
async def look_up(ctx: Context, key: str) -> str:
    return key


@workflow()
async def other(ctx: Context, request: Nothing) -> int:
    return 7


def gives(value: Any) -> Any:
    async def measure(ctx: Context) -> Any:
        return value

    return measure


def raises(error: BaseException) -> Any:
    @step(tries=1)
    async def fail(ctx: Context) -> Any:
        raise error

    return fail


# -- a step that is none, or is called wrongly --------------------------------


async def missing_argument(ctx: Context) -> Any:
    await ctx.run(charge)


async def wrong_keyword(ctx: Context) -> Any:
    await ctx.run(charge, "a", euros=1)


async def too_many(ctx: Context) -> Any:
    await ctx.run(charge, "a", 1)


async def ctx_passed_twice(ctx: Context) -> Any:
    await ctx.run(charge, ctx, "a")


async def no_coroutine_as_step(ctx: Context) -> Any:
    await ctx.run(no_coroutine)


async def lambda_as_step(ctx: Context) -> Any:
    await ctx.run(lambda inner: charge(inner, "a"))


async def no_ctx(ctx: Context) -> Any:
    await ctx.run(takes_no_ctx)


async def called_already(ctx: Context) -> Any:
    await ctx.run(charge(ctx, "a"))


async def generator_as_step(ctx: Context) -> Any:
    await ctx.run(generator)


async def async_generator_as_step(ctx: Context) -> Any:
    await ctx.run(async_generator)


async def name_as_step(ctx: Context) -> Any:
    await ctx.run("charge", "a")


async def workflow_as_step(ctx: Context) -> Any:
    await ctx.run(other, Nothing())


async def group_step_as_step(ctx: Context) -> Any:
    await ctx.run(look_up, "a")


async def step_as_group_step(ctx: Context) -> Any:
    await ctx.call(charge, "a")  # type: ignore[arg-type]


async def group_step_without_argument(ctx: Context) -> Any:
    await ctx.call(look_up)  # type: ignore[call-arg]


async def group_step_with_an_object(ctx: Context) -> Any:
    await ctx.call(look_up, object())  # type: ignore[arg-type]


# -- what a step returns or raises ---------------------------------------------


async def gives_an_object(ctx: Context) -> Any:
    await ctx.run(gives(object()))


async def gives_nan(ctx: Context) -> Any:
    await ctx.run(gives({"a": float("nan")}))


async def gives_a_lone_surrogate(ctx: Context) -> Any:
    await ctx.run(gives(["\ud800"]))


async def gives_a_huge_number(ctx: Context) -> Any:
    await ctx.run(gives(10**400))


async def gives_something_else_than_it_says(ctx: Context) -> Any:
    async def count(ctx: Context) -> int:
        return "seven"  # type: ignore[return-value]

    await ctx.run(count)


async def exits(ctx: Context) -> Any:
    await ctx.run(raises(SystemExit(1)))


async def interrupts(ctx: Context) -> Any:
    await ctx.run(raises(KeyboardInterrupt()))


async def is_cancelled(ctx: Context) -> Any:
    await ctx.run(raises(asyncio.CancelledError()))


async def recurses(ctx: Context) -> Any:
    @step(tries=1)
    async def deeper(ctx: Context) -> Any:
        return await deeper(ctx)

    await ctx.run(deeper)


async def wrong_input_of_a_model(ctx: Context) -> Any:
    await ctx.run(charge, Order(cents="many").model_dump_json())  # type: ignore[arg-type]


async def misspelt(ctx: Context) -> Any:
    async def spells(ctx: Context) -> Any:
        return ordr  # type: ignore[name-defined]  # noqa: F821

    await ctx.run(spells)


async def step_in_an_unstored_step(ctx: Context) -> Any:
    @step(stored=False)
    async def unstored(ctx: Context) -> Any:
        return await ctx.run(charge, "a")

    await ctx.run(unstored)


# -- what a workflow's code awaits ----------------------------------------------


async def sleeps(ctx: Context) -> Any:
    await asyncio.sleep(3600)


async def sleeps_and_catches(ctx: Context) -> Any:
    with contextlib.suppress(Exception):
        await asyncio.sleep(3600)

    return "went on"


async def sleeps_again_and_again(ctx: Context) -> Any:
    while True:
        with contextlib.suppress(Exception):
            await asyncio.sleep(3600)


async def waits_for_nothing(ctx: Context) -> Any:
    await asyncio.get_running_loop().create_future()


async def uses_a_thread(ctx: Context) -> Any:
    import time  # noqa: PLC0415

    await asyncio.to_thread(time.sleep, 0.5)


async def gathers_a_sleep(ctx: Context) -> Any:
    await asyncio.gather(ctx.run(charge, "a"), asyncio.sleep(3600))


async def awaits_a_task_of_its_own(ctx: Context) -> Any:
    await asyncio.create_task(asyncio.sleep(3600))


async def limits_a_step_itself(ctx: Context) -> Any:
    async def waits(ctx: Context) -> None:
        await asyncio.sleep(0.2)

    try:
        async with asyncio.timeout(0.01):
            await ctx.run(waits)
    except TimeoutError:
        return "went on"


async def raises_cancelled(ctx: Context) -> Any:
    raise asyncio.CancelledError


async def never_awaits(ctx: Context) -> Any:
    _ = ctx.run(charge, "a")


async def never_awaits_a_group_step(ctx: Context) -> Any:
    _ = ctx.call(look_up, "a")


# -- what suspends it --------------------------------------------------------------


async def catches_everything(ctx: Context) -> Any:
    bank = await open_callback(ctx, "bank")

    try:
        await bank
    except BaseException:  # noqa: BLE001 - the mistake
        return "went on"


async def catches_everything_and_runs_a_step(ctx: Context) -> Any:
    bank = await open_callback(ctx, "bank")

    try:
        await bank
    except:  # noqa: E722 - the mistake
        await ctx.run(charge, "refund")


async def cleans_up_with_a_step(ctx: Context) -> Any:
    bank = await open_callback(ctx, "bank")

    try:
        await bank
    finally:
        await ctx.run(charge, "refund")


async def catches_everything_around_a_gather(ctx: Context) -> Any:
    bank = await open_callback(ctx, "bank")

    try:
        await asyncio.gather(bank, ctx.run(charge, "a"))
    except BaseException:  # noqa: BLE001 - the mistake
        return "went on"


async def raises_another_error_instead(ctx: Context) -> Any:
    try:
        await ctx.sleep(timedelta(hours=1))
    except BaseException as error:
        raise WorkflowFailed("gave up") from error


# -- waits ---------------------------------------------------------------------------


async def no_name(ctx: Context) -> Any:
    _ = await open_callback(ctx, "the bank's answer")


async def name_as_a_number(ctx: Context) -> Any:
    _ = await open_callback(ctx, 5)  # type: ignore[arg-type]


async def deadline_of_nothing(ctx: Context) -> Any:
    _ = await open_callback(ctx, "bank", deadline=timedelta(0))


async def no_ctx_for_a_callback(ctx: Context) -> Any:
    _ = await open_callback("bank", ctx)  # type: ignore[arg-type]


async def no_audience(ctx: Context) -> Any:
    _ = await open_callback(ctx, "bank", audience="everybody")  # type: ignore[arg-type]


async def no_subject(ctx: Context) -> Any:
    _ = await open_callback(ctx, "bank", subject=None)  # type: ignore[arg-type]


async def outcomes_as_a_text(ctx: Context) -> Any:
    _ = await open_callback(ctx, "bank", outcomes="approve")  # type: ignore[arg-type]


async def people_as_a_text(ctx: Context) -> Any:
    await ask_people(ctx, "ask", Question(title="?"), "ada@example.org")


async def nobody(ctx: Context) -> Any:
    await ask_people(ctx, "ask", Question(title="?"), [])


async def no_address(ctx: Context) -> Any:
    await ask_people(ctx, "ask", Question(title="?"), ["ada"])


async def somebody_twice(ctx: Context) -> Any:
    await ask_people(ctx, "ask", Question(title="?"), ["ada@example.org", "ADA@example.org"])


async def need_of_two(ctx: Context) -> Any:
    await ask_people(ctx, "ask", Question(title="?"), ["ada@example.org"], need="two")  # type: ignore[arg-type]


async def question_as_a_text(ctx: Context) -> Any:
    await ask_people(ctx, "ask", "Ship it?", ["ada@example.org"])  # type: ignore[arg-type]


async def reminders_as_a_number(ctx: Context) -> Any:
    await ask_people(ctx, "ask", Question(title="?"), ["ada@example.org"], remind_after=5)  # type: ignore[arg-type]


async def facts_as_a_mapping(ctx: Context) -> Any:
    Question(title="?", facts={"Version": "1.0"})  # type: ignore[arg-type]


async def title_as_a_number(ctx: Context) -> Any:
    Question(title=5)  # type: ignore[arg-type]


async def decisions_as_a_text(ctx: Context) -> Any:
    Question(title="?", decisions="approve")


async def job_with_a_list(ctx: Context) -> Any:
    await run_job(ctx, "load", 7, parameters=["a"])  # type: ignore[arg-type]


async def job_without_a_name(ctx: Context) -> Any:
    await run_job(ctx, "load it", 7)


async def timeout_as_a_number(ctx: Context) -> Any:
    await ctx.options(timeout=5).run(charge, "a")  # type: ignore[arg-type]


async def never_awaits_a_callback(ctx: Context) -> Any:
    open_callback(ctx, "bank")  # type: ignore[unused-coroutine]


async def never_awaits_a_question(ctx: Context) -> Any:
    ask_people(ctx, "ask", Question(title="?"), ["ada@example.org"])  # type: ignore[unused-coroutine]


async def never_awaits_a_job(ctx: Context) -> Any:
    run_job(ctx, "load", 7)  # type: ignore[unused-coroutine]


async def never_awaits_what_it_uses(ctx: Context) -> Any:
    return open_callback(ctx, "bank").address  # type: ignore[attr-defined]


async def adds_to_what_it_never_awaits(ctx: Context) -> Any:
    return ctx.run(charge, "a") + "b"  # type: ignore[operator]


async def hands_out_a_link_that_it_never_awaits(ctx: Context) -> Any:
    async def hand_out(inner: Context, address: Address) -> None:
        print(f"answer at {address.url(inner)}")  # noqa: T201 - the mistake

    bank = await open_callback(ctx, "bank")
    await ctx.run(hand_out, bank.address)


class Unawaited:
    def __await__(self) -> Any:
        return charge(cast("Any", None), "a").__await__()


async def gives_back_what_it_never_awaits(ctx: Context) -> Any:
    return Unawaited()


async def calls_a_workflow(ctx: Context) -> Any:
    return await other(ctx, Nothing())


async def deadline_as_a_number(ctx: Context) -> Any:
    _ = await open_callback(ctx, "bank", deadline=5)  # type: ignore[arg-type]


async def gives_back_a_future(ctx: Context) -> Any:
    return ctx.sleep(timedelta(milliseconds=1))


async def sleeps_a_number(ctx: Context) -> Any:
    await ctx.sleep(5)  # type: ignore[arg-type]


async def sleeps_for_nothing(ctx: Context) -> Any:
    await ctx.sleep(None)  # type: ignore[arg-type]


async def opens_a_promise_for_a_number(ctx: Context) -> Any:
    await ctx.promise(5)  # type: ignore[arg-type]


# -- what would end more than the workflow -------------------------------------


async def closes_itself(ctx: Context) -> Any:
    await ctx.run(charge, "a")
    raise GeneratorExit


async def interrupts_itself(ctx: Context) -> Any:
    await ctx.run(charge, "a")
    raise KeyboardInterrupt


async def interrupts_itself_in_a_group(ctx: Context) -> Any:
    await ctx.run(charge, "a")
    raise BaseExceptionGroup("both", [KeyboardInterrupt(), ValueError()])


async def closes_a_step(ctx: Context) -> Any:
    await ctx.run(raises(GeneratorExit()))


async def raises_in_many_lines(ctx: Context) -> Any:
    await ctx.run(raises(type("Two\nlines" + "!" * 1000, (Exception,), {})()))


async def gives_a_step_two_policies(ctx: Context) -> Any:
    await ctx.run(step(step(charge)), "a")


# -- more steps that are none, or are called wrongly ---------------------------


class Shop:
    """Functions that are not plain ones."""

    async def bound(self, ctx: Context, cents: int) -> int:
        return cents

    async def __call__(self, ctx: Context, cents: int) -> int:
        return cents


def logged(body: Any) -> Any:
    @functools.wraps(body)
    async def inner(*args: Any, **kwargs: Any) -> Any:
        return await body(*args, **kwargs)

    return inner


def hidden(body: Any) -> Any:
    async def inner(*args: Any) -> Any:
        return await body(*args)

    return inner


def forgetful(body: Any) -> Any:
    @functools.wraps(body)
    def inner(*args: Any) -> None:
        body(*args).close()

    return inner


async def method_without_its_object(ctx: Context) -> Any:
    await ctx.run(Shop.bound, 3)


async def class_as_step(ctx: Context) -> Any:
    await ctx.run(Shop, 3)


async def partial_over_ctx(ctx: Context) -> Any:
    await ctx.run(functools.partial(charge, ctx), "a")


async def decorator_that_hides_ctx(ctx: Context) -> Any:
    await ctx.run(hidden(charge), "a")


async def decorator_that_awaits_nothing(ctx: Context) -> Any:
    await ctx.run(forgetful(charge), "a")


async def decorated_with_a_wrong_argument(ctx: Context) -> Any:
    await ctx.run(logged(charge), "a", euros=1)


async def ctx_as_a_keyword(ctx: Context) -> Any:
    await ctx.run(charge, "a", ctx=ctx)


async def none_as_step(ctx: Context) -> Any:
    await ctx.run(None)


async def list_as_step(ctx: Context) -> Any:
    await ctx.run([charge])


async def builtin_as_step(ctx: Context) -> Any:
    await ctx.run(print, "a")


async def library_function_as_step(ctx: Context) -> Any:
    await ctx.run(asyncio.sleep, 1)


async def step_without_a_name(ctx: Context) -> Any:
    await ctx.run(step(name="")(charge), "a")


async def step_named_by_a_number(ctx: Context) -> Any:
    await ctx.run(step(name=5)(charge), "a")  # type: ignore[call-overload]


async def step_with_two_lines_for_a_name(ctx: Context) -> Any:
    await ctx.run(step(name="charge\nrefund")(charge), "a")


async def step_with_no_dependency(ctx: Context) -> Any:
    async def pays(ctx: Context) -> Any:
        return ctx.get_dependency(Shop)

    await ctx.run(pays)


async def workflow_by_its_name(ctx: Context) -> Any:
    await run_workflow(ctx, cast("Any", "other"), {})


async def workflow_that_is_not_loaded(ctx: Context) -> Any:
    await run_workflow(ctx, other, {})


# -- more of what steps return and raise ---------------------------------------


async def gives_infinity(ctx: Context) -> Any:
    await ctx.run(gives([float("inf")]))


async def gives_a_list_that_holds_itself(ctx: Context) -> Any:
    endless: list[Any] = []
    endless.append(endless)
    await ctx.run(gives(endless))


async def gives_a_generator(ctx: Context) -> Any:
    await ctx.run(gives(number for number in [7]))


async def gives_an_error(ctx: Context) -> Any:
    await ctx.run(gives(ValueError("no")))


async def gives_nothing_although_it_says_so(ctx: Context) -> Any:
    async def count(ctx: Context) -> int:  # type: ignore[empty-body]
        """Forget to return."""

    await ctx.run(count)


async def stops_an_iteration(ctx: Context) -> Any:
    await ctx.run(raises(StopAsyncIteration()))


async def raises_a_group(ctx: Context) -> Any:
    await ctx.run(raises(BaseExceptionGroup("both", [KeyboardInterrupt(), ValueError()])))


async def raises_what_cannot_be_read(ctx: Context) -> Any:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    await ctx.run(raises(Mute()))


async def takes_too_long(ctx: Context) -> Any:
    @step(tries=2, timeout=0.01)
    async def dawdle(ctx: Context) -> None:
        await asyncio.Event().wait()

    await ctx.run(dawdle)


async def stops_its_own_iteration(ctx: Context) -> Any:
    raise StopAsyncIteration


async def gives_back_its_ctx(ctx: Context) -> Any:
    return ctx


# -- more of what runs at once -------------------------------------------------


async def a_task_group_beside_a_sleep(ctx: Context) -> Any:
    async def breaks() -> None:
        await ctx.run(raises(ValueError("no")))

    async def dozes() -> None:
        await ctx.sleep(timedelta(days=1))

    async with asyncio.TaskGroup() as group:
        group.create_task(dozes())
        group.create_task(breaks())


async def a_gather_beside_a_sleep(ctx: Context) -> Any:
    await asyncio.gather(ctx.sleep(timedelta(days=1)), ctx.run(raises(ValueError("no"))))


async def never_awaits_a_sleep(ctx: Context) -> Any:
    _ = ctx.sleep(timedelta(days=1))


async def never_awaits_a_task(ctx: Context) -> Any:
    async def charges() -> None:
        await ctx.run(charge, "a")

    kept = asyncio.create_task(charges())
    assert not kept.done()


async def never_awaits_a_task_that_has_begun(ctx: Context) -> Any:
    async def charges() -> None:
        for each in "abcdefgh":
            await ctx.run(charge, each)

    kept = asyncio.create_task(charges())
    await ctx.run(charge, "a")
    assert not kept.done()


async def locks_itself_out(ctx: Context) -> Any:
    turn = asyncio.Lock()

    async with turn, turn:
        await ctx.run(charge, "a")


async def waits_for_a_step_with_wait_for(ctx: Context) -> Any:
    async def waits(ctx: Context) -> None:
        await asyncio.sleep(0.2)

    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(ctx.run(waits), 0.01)


async def runs_a_loop_of_its_own(ctx: Context) -> Any:
    code = charge(ctx, "a")

    try:
        asyncio.run(code)
    finally:
        code.close()


# -- the ctx of another function -----------------------------------------------


async def step_with_the_ctx_of_its_workflow(ctx: Context) -> Any:
    async def pays(_: Context) -> Any:
        return await ctx.run(charge, "a")

    await ctx.run(pays)


async def sleep_with_the_ctx_of_its_workflow(ctx: Context) -> Any:
    async def dozes(_: Context) -> None:
        await ctx.sleep(timedelta(days=1))

    await ctx.run(dozes)


async def step_that_awaits_a_wait_of_its_workflow(ctx: Context) -> Any:
    bank = await open_callback(ctx, "bank")

    async def waits(_: Context) -> Any:
        return (await bank).kind

    await ctx.run(waits)


async def step_that_awaits_a_sleep_of_its_workflow(ctx: Context) -> Any:
    nap = ctx.sleep(timedelta(days=1))

    async def waits(_: Context) -> None:
        await nap

    await ctx.run(waits)


FOREIGN = "the workflow's code awaits something that is neither a step nor a wait of ctx: do it in a step"
SWALLOWED = "the workflow's code caught the signal that suspends it"
CANCELLED = "the workflow's code caught or raised a CancelledError, as asyncio.timeout does"
UNFINISHED = "the workflow's code ended before a task that it had started: await each task"
ANOTHER_CTX = "this is the ctx of another step, or of the workflow around it: use the ctx that the function itself was"
AWAITED_IN_A_STEP = "a step awaits a wait of its workflow: await it in the workflow's own code"
HERE = " at test_authors_mistakes.py:"

MISTAKES: list[tuple[Any, str]] = [
    (missing_argument, "the step charge takes order, cents after ctx: missing a required argument: 'order'" + HERE),
    (wrong_keyword, "the step charge takes order, cents after ctx: got an unexpected keyword argument 'euros'" + HERE),
    (too_many, "the step charge takes order, cents after ctx: too many positional arguments"),
    (ctx_passed_twice, "the step charge takes order, cents after ctx: too many positional arguments"),
    (no_coroutine_as_step, "the step no_coroutine must be an async function: async def no_coroutine(ctx)"),
    (lambda_as_step, "the step <lambda> must be an async function"),
    (no_ctx, "the step takes_no_ctx must take ctx as its first parameter"),
    (called_already, "pass the step charge itself, with its arguments after it: charge(...) has called it already"),
    (generator_as_step, "the step generator must be an async function that returns its result; it yields"),
    (async_generator_as_step, "the step async_generator must be an async function that returns its result; it yields"),
    (name_as_step, "a step is an async function that takes ctx first, not the name 'charge'"),
    (workflow_as_step, "other is a workflow: write await run_workflow(ctx, other, request)"),
    (group_step_as_step, "look_up belongs to the worker group other: write await ctx.call(look_up, ...)"),
    (step_as_group_step, "charge belongs to no worker group: write await ctx.run(charge, ...)"),
    (group_step_without_argument, "the step look_up takes key after ctx: missing a required argument: 'key'"),
    (group_step_with_an_object, "argument 1 of look_up is of the type object: it, or something in it, cannot be"),
    (gives_an_object, "the result of measure is of the type object"),
    (gives_nan, "the result of measure.a is NaN, which JSON cannot hold" + HERE),
    (gives_a_lone_surrogate, "the result of measure[0] holds a lone surrogate, which UTF-8 cannot hold"),
    (gives_a_huge_number, "the result of measure is an integer of more than"),
    (gives_something_else_than_it_says, "the result of count does not fit its annotation int"),
    (exits, "a step raised SystemExit: fail" + HERE),
    (interrupts, "a step raised KeyboardInterrupt: fail" + HERE),
    (is_cancelled, "a step raised CancelledError: fail" + HERE),
    (recurses, "a step raised RecursionError: deeper" + HERE),
    (wrong_input_of_a_model, "the workflow's code raised ValidationError" + HERE),
    (misspelt, "a step raised NameError: spells" + HERE),
    (step_in_an_unstored_step, "the step unstored has stored=False, so it can run no steps and open no waits"),
    (sleeps, FOREIGN),
    (sleeps_and_catches, FOREIGN),
    (sleeps_again_and_again, FOREIGN),
    (waits_for_nothing, FOREIGN),
    (uses_a_thread, FOREIGN),
    (gathers_a_sleep, FOREIGN),
    (awaits_a_task_of_its_own, FOREIGN),
    (limits_a_step_itself, CANCELLED),
    (raises_cancelled, CANCELLED),
    (never_awaits, "the step charge was started and never awaited: write await ctx.run(charge, ...)" + HERE),
    (never_awaits_a_group_step, "the step look_up was started and never awaited: write await ctx.call(look_up, ...)"),
    (
        never_awaits_a_callback,
        "open_callback(ctx, ...) was called and never awaited: write await open_callback(ctx, ...)" + HERE,
    ),
    (
        never_awaits_a_question,
        "ask_people(ctx, ...) was called and never awaited: write await ask_people(ctx, ...)" + HERE,
    ),
    (never_awaits_a_job, "run_job(ctx, ...) was called and never awaited: write await run_job(ctx, ...)" + HERE),
    (
        never_awaits_what_it_uses,
        "open_callback(ctx, ...) was called and never awaited: write await open_callback(ctx, ",
    ),
    (adds_to_what_it_never_awaits, "the step charge was started and never awaited: write await ctx.run(charge, ...)"),
    (hands_out_a_link_that_it_never_awaits, "address.url(ctx) was called and never awaited: write await address.url"),
    (gives_back_what_it_never_awaits, "result is of the type Unawaited, which must be awaited first"),
    (calls_a_workflow, "other is a workflow: write await run_workflow(ctx, other, request)" + HERE),
    (catches_everything, SWALLOWED),
    (catches_everything_and_runs_a_step, SWALLOWED),
    (cleans_up_with_a_step, SWALLOWED),
    (catches_everything_around_a_gather, SWALLOWED),
    (raises_another_error_instead, SWALLOWED),
    (no_name, "the name of a wait is 1 to 64 of A-Z a-z 0-9 . _ -" + HERE),
    (name_as_a_number, "the name of a wait is a text, not an object of the type int" + HERE),
    (
        deadline_as_a_number,
        "the deadline of bank is a timedelta, such as timedelta(hours=1), not an object of the type int",
    ),
    (deadline_of_nothing, "the deadline of bank must be at least 1 second" + HERE),
    (no_ctx_for_a_callback, "open_callback takes ctx as its first argument, not an object of the type str" + HERE),
    (no_audience, 'the audience of a callback is "machine" or "approver"' + HERE),
    (no_subject, "the subject of a callback is a text, not None" + HERE),
    (outcomes_as_a_text, 'the outcomes of a callback are texts, such as ("succeeded", "failed")' + HERE),
    (people_as_a_text, 'the people of a question are a list of addresses, such as ["ada@example.org"]' + HERE),
    (nobody, "a question is put to 1 to 50 people, not to 0" + HERE),
    (no_address, "person 1 of the question has no address that mail can be sent to: not an e-mail address"),
    (somebody_twice, "a question is put to each of its people once, and one address is there twice" + HERE),
    (need_of_two, '`need` of a question is "any" or "all"' + HERE),
    (question_as_a_text, "ask_people takes a Question after the name, not an object of the type str" + HERE),
    (reminders_as_a_number, "`remind_after` of a question is a timedelta of more than 0, such as timedelta(days=1)"),
    (facts_as_a_mapping, "the facts and links of a question are lists of pairs of texts"),
    (title_as_a_number, "the title of a question is a text" + HERE),
    (decisions_as_a_text, 'the decisions of a question are a list of texts, such as ["approve", "reject"]' + HERE),
    (job_with_a_list, "the job load cannot be run: parameters: Input should be a valid dictionary" + HERE),
    (job_without_a_name, "the name of a job is 1 to 60 of A-Z a-z 0-9 . _ -" + HERE),
    (timeout_as_a_number, "the timeout of ctx.options is a timedelta, not an object of the type int" + HERE),
    (gives_back_a_future, "result is of the type"),
    (
        sleeps_a_number,
        "ctx.sleep takes a timedelta, such as timedelta(seconds=5), not an object of the type int" + HERE,
    ),
    (sleeps_for_nothing, "ctx.sleep takes a timedelta, such as timedelta(seconds=5), not None" + HERE),
    (opens_a_promise_for_a_number, "the timeout of ctx.promise is a timedelta, not an object of the type int" + HERE),
    (closes_itself, "the workflow's code raised GeneratorExit: raise WorkflowFailed"),
    (interrupts_itself, "the workflow's code raised KeyboardInterrupt: raise WorkflowFailed"),
    (interrupts_itself_in_a_group, "the workflow's code raised BaseExceptionGroup: raise WorkflowFailed"),
    (closes_a_step, "a step raised GeneratorExit: fail" + HERE),
    (raises_in_many_lines, "a step raised Two\\nlines" + "!" * 90 + "...: fail" + HERE),
    (gives_a_step_two_policies, "charge is a step already: give it its policy in one @step"),
    (method_without_its_object, "the step bound takes ctx, cents after ctx: missing a required argument: 'cents'"),
    (class_as_step, "the step Shop must take ctx as its first parameter" + HERE),
    (partial_over_ctx, "the step charge takes cents after ctx: too many positional arguments" + HERE),
    (decorator_that_hides_ctx, "the step inner must take ctx as its first parameter" + HERE),
    (decorator_that_awaits_nothing, "the step charge must be an async function; calling it gave no coroutine"),
    (decorated_with_a_wrong_argument, "the step charge takes order, cents after ctx: got an unexpected keyword"),
    (ctx_as_a_keyword, "the step charge takes order, cents after ctx: got an unexpected keyword argument 'ctx'"),
    (none_as_step, "a step is an async function that takes ctx first, not an object of the type NoneType" + HERE),
    (list_as_step, "a step is an async function that takes ctx first, not an object of the type list" + HERE),
    (builtin_as_step, "the step print must be an async function: async def print(ctx)" + HERE),
    (library_function_as_step, "a step raised TypeError: sleep at tasks.py:"),
    (step_without_a_name, "`name` of a step is 1 to 128 printable characters, not ''"),
    (step_named_by_a_number, "`name` of a step is 1 to 128 printable characters, not '5'"),
    (step_with_two_lines_for_a_name, "`name` of a step is 1 to 128 printable characters, not 'charge\\nrefund'"),
    (step_with_no_dependency, "no dependency gives Shop: write `@dependency` over"),
    (workflow_by_its_name, "run_workflow needs a workflow, made with @workflow, not a str" + HERE),
    (workflow_that_is_not_loaded, "the workflow other is not loaded: import it in its parent's module"),
    (gives_infinity, "the result of measure[0] is infinite, which JSON cannot hold"),
    (gives_a_list_that_holds_itself, "is nested too deeply: more than 64 levels"),
    (gives_a_generator, "the result of measure is of the type generator"),
    (gives_an_error, "the result of measure is of the type ValueError"),
    (gives_nothing_although_it_says_so, "the result of count does not fit its annotation int"),
    (stops_an_iteration, "a step raised StopAsyncIteration: fail" + HERE),
    (raises_a_group, "a step raised BaseExceptionGroup: fail" + HERE),
    (raises_what_cannot_be_read, "a step raised Mute: fail" + HERE),
    (takes_too_long, "a step raised StepTimeout: dawdle at test_authors_mistakes.py in dawdle"),
    (stops_its_own_iteration, "the workflow's code raised StopAsyncIteration" + HERE),
    (gives_back_its_ctx, "result is of the type Context"),
    (a_task_group_beside_a_sleep, "in a_task_group_beside_a_sleep: a step raised ValueError: fail" + HERE),
    (a_gather_beside_a_sleep, "a step raised ValueError: fail" + HERE),
    (never_awaits_a_sleep, "a sleep was started and never awaited: write await ctx.sleep(...)" + HERE),
    (never_awaits_a_task, UNFINISHED),
    (never_awaits_a_task_that_has_begun, UNFINISHED),
    (locks_itself_out, FOREIGN),
    (waits_for_a_step_with_wait_for, CANCELLED),
    (runs_a_loop_of_its_own, "the workflow's code raised RuntimeError" + HERE),
    (step_with_the_ctx_of_its_workflow, ANOTHER_CTX),
    (sleep_with_the_ctx_of_its_workflow, ANOTHER_CTX),
    (step_that_awaits_a_wait_of_its_workflow, AWAITED_IN_A_STEP),
    (step_that_awaits_a_sleep_of_its_workflow, AWAITED_IN_A_STEP),
]


ON_EVERY_ENGINE = [
    missing_argument,
    sleeps,
    catches_everything,
    never_awaits,
    a_task_group_beside_a_sleep,
    never_awaits_a_task,
    step_that_awaits_a_wait_of_its_workflow,
]


def flow(body: Callable[[Context], Any]) -> Workflow[Nothing]:
    @workflow(name="mistaken")
    async def mistaken(ctx: Context, request: Nothing) -> Any:
        return await body(ctx)

    return mistaken


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "FIRST_PAUSE", 0.001)


@pytest.mark.parametrize(("body", "text"), MISTAKES)
async def test_a_mistake_ends_its_workflow_with_a_text_that_names_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, body: Any, text: str
) -> None:
    with caplog.at_level(logging.INFO):
        async with plant(tmp_path, "memory://", flow(body)) as works:
            await works.start("a")
            state, error = await works.ended("a")

    assert state == "failed"
    assert text in error["message"]
    assert "mistaken.a" in caplog.text


@pytest.mark.parametrize(
    "body",
    [
        *(missing_argument, gives_nan, group_step_with_an_object, sleeps, catches_everything, limits_a_step_itself),
        *(never_awaits, never_awaits_a_job, deadline_as_a_number, people_as_a_text, calls_a_workflow),
        *(raises_another_error_instead, catches_everything_and_runs_a_step, raises_cancelled),
    ],
)
async def test_the_log_says_the_same_as_the_api_in_one_line_with_the_authors_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, body: Any
) -> None:
    async with plant(tmp_path, "memory://", flow(body)) as works:
        await works.start("a")
        _, error = await works.ended("a")

    assert HERE in error["message"]
    assert f"workflow mistaken.a failed: {error['message']} (" in caplog.text


async def test_nobody_is_warned_of_what_a_suspended_workflow_has_not_begun(tmp_path: Path) -> None:
    async def body(ctx: Context) -> Any:
        job = run_job(ctx, "load", 7, answer="run")
        await ctx.sleep(timedelta(milliseconds=20))
        job.close()

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")

        async with plant(tmp_path, "memory://", flow(body)) as works:
            await works.start("a")
            assert (await works.ended("a"))[0] == "succeeded"

        gc.collect()

    assert [str(each.message) for each in seen if "never awaited" in str(each.message)] == []


@pytest.mark.parametrize("body", ON_EVERY_ENGINE)
async def test_so_it_does_on_every_engine(tmp_path: Path, engine_url: str, body: Any) -> None:
    async with plant(tmp_path, engine_url, flow(body)) as works:
        await works.start("a")
        state, error = await works.ended("a")

    assert state == "failed"
    assert dict(MISTAKES)[body] in error["message"]


async def gathers_steps(ctx: Context) -> Any:
    return await asyncio.gather(ctx.run(charge, "a"), ctx.run(charge, "b"))


async def gathers_branches(ctx: Context) -> Any:
    turn = asyncio.Semaphore(1)

    async def branch(order: str) -> Any:
        async with turn:
            first = await ctx.run(charge, order)

        return [first, await ctx.run(charge, order)]

    return await asyncio.gather(branch("a"), branch("b"))


async def gathers_waits_with_their_errors(ctx: Context) -> Any:
    return await asyncio.gather(ctx.sleep(timedelta(milliseconds=20)), ctx.run(charge, "a"), return_exceptions=True)


async def uses_a_task_group(ctx: Context) -> Any:
    async with asyncio.TaskGroup() as group:
        found = [group.create_task(branch) for branch in (nap(ctx), nap(ctx))]

    return [each.result() for each in found]


async def nap(ctx: Context) -> Any:
    await ctx.sleep(timedelta(milliseconds=20))
    return await ctx.run(charge, "a")


async def compensates(ctx: Context) -> Any:
    try:
        await ctx.run(raises(ValueError("no")))
    except Exception:  # noqa: BLE001 - as an author would
        return await ctx.run(charge, "refund")


async def gives_texts_for_dates(ctx: Context) -> Any:
    return await ctx.run(gives({"at": timedelta(days=1), "names": {"a"}, "bytes": b"a"}))


async def uses_other_callables(ctx: Context) -> Any:
    bound, called = await ctx.run(Shop().bound, 3), await ctx.run(Shop(), 3)

    return [
        bound,
        called,
        await ctx.run(functools.partial(charge, cents=5), "a"),
        await ctx.run(logged(charge), order="a"),
    ]


async def numbers(ctx: Context) -> set[int]:
    return {1, 2}


async def moment(ctx: Context) -> datetime:
    return datetime(2026, 11, 26, tzinfo=UTC)


async def raw(ctx: Context) -> bytes:
    return b"\xff\x00"


async def gets_what_it_annotates(ctx: Context) -> Any:
    return [type(await ctx.run(each)).__name__ for each in (numbers, moment, raw)]


async def sleeps_for_no_time(ctx: Context) -> Any:
    await ctx.sleep(timedelta(0))
    await ctx.sleep(timedelta(days=-1))


async def awaits_a_step_twice(ctx: Context) -> Any:
    charged = ctx.run(charge, "a")

    return [await charged, await charged]


async def first_of(*futures: Any) -> Any:
    async def ended(future: Any) -> Any:
        return await future

    tasks = [asyncio.create_task(ended(each)) for each in futures]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)

    return next(each.result() for each in tasks if each in done)


async def races_a_step_with_a_sleep(ctx: Context) -> Any:
    return await first_of(ctx.run(charge, "a"), ctx.sleep(timedelta(days=1)))


async def races_two_steps(ctx: Context) -> Any:
    async def slow(ctx: Context) -> None:
        await asyncio.sleep(0.1)

    return await first_of(ctx.run(charge, "a"), ctx.run(slow))


async def nests_steps(ctx: Context) -> Any:
    async def pays(inner: Context) -> Any:
        return await inner.run(charge, "a")

    return await ctx.run(pays)


@pytest.mark.parametrize(
    ("body", "result"),
    [
        (gathers_steps, ["a 1", "b 1"]),
        (gathers_branches, [["a 1", "a 1"], ["b 1", "b 1"]]),
        (gathers_waits_with_their_errors, [None, "a 1"]),
        (uses_a_task_group, ["a 1", "a 1"]),
        (compensates, "refund 1"),
        (uses_other_callables, [3, 3, "a 5", "a 1"]),
        (gets_what_it_annotates, ["set", "datetime", "bytes"]),
        (sleeps_for_no_time, None),
        (awaits_a_step_twice, ["a 1", "a 1"]),
        (races_a_step_with_a_sleep, "a 1"),
        (races_two_steps, "a 1"),
        (nests_steps, "a 1"),
        (gives_texts_for_dates, {"at": "P1D", "names": ["a"], "bytes": "YQ=="}),
    ],
)
async def test_what_is_no_mistake_works(tmp_path: Path, body: Any, result: Any) -> None:
    async with plant(tmp_path, "memory://", flow(body)) as works:
        await works.start("a")

        assert await works.ended("a") == ("succeeded", result)


@pytest.mark.parametrize(
    "use",
    [
        lambda ctx: ctx.run(charge, "a"),
        lambda ctx: ctx.sleep(timedelta(seconds=5)),
        lambda ctx: ctx.call(look_up, "a"),
        lambda ctx: open_callback(ctx, "bank", deadline=timedelta(hours=1)),
        lambda ctx: run_workflow(ctx, other, {}),
    ],
)
async def test_the_ctx_of_another_run_is_of_no_use(use: Any) -> None:
    """The engine refuses to record it, and the workflow would be taken up again and again."""
    kept: list[Context] = []

    @workflow(name="keeps")
    async def keeps(ctx: Context, request: Nothing) -> None:
        kept.append(ctx)

    async def uses(ctx: Context) -> Any:
        await use(kept[0])

    async with Trial(keeps, flow(uses), other) as trial:
        await trial.start(keeps, {}, id="a")
        run = await trial.start("mistaken", {})

        with pytest.raises(
            WorkflowFailed, match=r"this is the ctx of another run, keeps\.a: use the ctx that"
        ) as found:
            await run.result()

    assert HERE in str(found.value)


async def test_a_step_that_never_ends_is_ended_by_a_cancel_once_it_does(tmp_path: Path) -> None:
    go_on = asyncio.Event()

    async def stuck(ctx: Context) -> None:
        await go_on.wait()
        raise ValueError

    async def waits(ctx: Context) -> Any:
        await ctx.run(stuck)

    async with plant(tmp_path, "memory://", flow(waits)) as works:
        await works.start("a")
        await works.opened("mistaken.a:1")
        await request_cancel(works.engine, "mistaken.a")
        go_on.set()
        await pause(0)

        assert (await works.ended("a"))[0] == "cancelled"


async def sleeps_for_ages(ctx: Context) -> Any:
    await ctx.sleep(timedelta.max)


async def waits_for_ages(ctx: Context) -> Any:
    return (await (await open_callback(ctx, "bank", deadline=timedelta.max))).kind


async def never_ends(ctx: Context) -> Any:
    async def stuck(ctx: Context) -> None:
        await asyncio.Event().wait()

    await ctx.run(stuck)


@pytest.mark.parametrize("body", [sleeps_for_ages, waits_for_ages, never_ends])
async def test_a_cancel_ends_what_would_last_for_ages(tmp_path: Path, body: Any) -> None:
    async with plant(tmp_path, "memory://", flow(body)) as works:
        await works.start("a")
        await works.opened("mistaken.a:1")
        await request_cancel(works.engine, "mistaken.a")

        assert (await works.ended("a"))[0] == "cancelled"


async def test_a_block_is_undone_too_if_its_code_raises_what_no_workflow_should(tmp_path: Path) -> None:
    undone: list[str] = []

    async def refund(ctx: Context, why: str) -> None:
        undone.append(why)

    async def cancels_a_task(ctx: Context) -> None:
        kept = asyncio.create_task(asyncio.sleep(0))
        kept.cancel()
        await kept

    for wrong in (cancels_a_task, raises_cancelled, interrupts_itself, interrupts_itself_in_a_group):

        async def charges(ctx: Context, wrong: Any = wrong) -> None:
            async with compensating(ctx) as undo:
                await ctx.run(charge, "a")
                undo.add(refund, wrong.__name__)
                await wrong(ctx)

        async with plant(tmp_path, "memory://", flow(charges)) as works:
            await works.start("a")

            assert (await works.ended("a"))[0] == "failed"

    assert undone == [
        "cancels_a_task",
        "raises_cancelled",
        "interrupts_itself",
        "interrupts_itself_in_a_group",
    ]
