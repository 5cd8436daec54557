"""What a workflow or a step ends with: it is checked where it ends, and shown without a text that quotes a body.

Long because each ending is a workflow of its own, with the same checks on all of them.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel
from resonate.retry import Never
from support.plant import plant

from orchestrator import Context, StepFailed, StepRefused, WorkflowExpired, WorkflowFailed, open_callback, workflow
from orchestrator.durable.group_steps import group_step

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchestrator.runs.definition import Workflow

NAN = float("nan")
BODY = "s3cretbody"
UNWRITABLE = "it, or something in it, cannot be written as JSON"


class Nothing(BaseModel):
    """No input."""


class Number(BaseModel):
    """A model."""

    n: int


def ending(with_what: Callable[[], object]) -> Workflow[Nothing]:
    @workflow(name="ending")
    async def body(ctx: Context, request: Nothing) -> object:
        return with_what()

    return body


def raising(error: BaseException) -> Callable[[], object]:
    def fail() -> object:
        raise error

    return fail


async def ended(tmp_path: Path, flow: Workflow[Any]) -> tuple[str, Any]:
    async with plant(tmp_path, "memory://", flow) as works:
        await works.start("a")

        return await works.ended("a")


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({"items": [{"price": NAN}]}, "result.items[0].price is NaN, which JSON cannot hold"),
        ("\ud800", "result holds a lone surrogate, which UTF-8 cannot hold"),
        ({"a": object()}, "result.a is of the type object: it, or something in it, cannot be written as JSON"),
    ],
)
async def test_a_result_that_json_cannot_hold_fails_the_workflow_at_once(
    tmp_path: Path, result: object, message: str
) -> None:
    assert await ended(tmp_path, ending(lambda: result)) == ("failed", {"message": message})


@pytest.mark.parametrize(
    ("error", "state", "shown"),
    [
        (
            WorkflowFailed("too dear", rate=NAN, item="a"),
            "failed",
            {"message": "too dear (left out: error.rate is NaN, which JSON cannot hold)", "item": "a"},
        ),
        (
            WorkflowExpired("late", details="\ud800"),
            "expired",
            {"message": "late (left out: error.details holds a lone surrogate, which UTF-8 cannot hold)"},
        ),
        (WorkflowFailed("half an emoji: \ud83d"), "failed", {"message": "half an emoji: \\ud83d"}),
        (WorkflowFailed("a", **{"\ud800": 1}), "failed", {"message": "a", "\\ud800": 1}),
        (
            WorkflowFailed(NAN),  # type: ignore[arg-type]
            "failed",
            {
                "message": "the workflow gave no reason that can be written"
                " (left out: error.message is NaN, which JSON cannot hold)"
            },
        ),
        (WorkflowFailed(7), "failed", {"message": "7"}),  # type: ignore[arg-type]
        (WorkflowFailed("one of two", message="the other"), "failed", {"message": "one of two"}),
        (WorkflowFailed("deep", details=[[[1]]]), "failed", {"message": "deep", "details": [[[1]]]}),
    ],
)
async def test_a_reason_is_kept_whatever_is_beside_it(
    tmp_path: Path, error: Exception, state: str, shown: object
) -> None:
    assert await ended(tmp_path, ending(raising(error))) == (state, shown)


def of_a_model() -> object:
    return Number.model_validate({"n": BODY})


@pytest.mark.parametrize(
    ("fail", "kind", "function"),
    [
        (lambda: int(BODY), "ValueError", "<lambda>"),
        (lambda: dict[str, str]()[BODY], "KeyError", "<lambda>"),
        (lambda: json.loads(f'{{"{BODY}'), "JSONDecodeError", "<lambda>"),
        (lambda: sys.exit(BODY), "SystemExit", "<lambda>"),
        (of_a_model, "ValidationError", "of_a_model"),
        (raising(ExceptionGroup(BODY, [ValueError(BODY)])), "ExceptionGroup", "fail"),
        (raising(UnicodeDecodeError("utf-8", BODY.encode(), 0, 1, BODY)), "UnicodeDecodeError", "fail"),
        (raising(OSError([BODY], BODY)), "OSError", "fail"),
    ],
)
async def test_an_unexpected_error_is_shown_by_type_and_place_and_never_by_its_text(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, fail: Callable[[], object], kind: str, function: str
) -> None:
    with caplog.at_level(logging.DEBUG, "orchestrator"):
        state, error = await ended(tmp_path, ending(fail))

    assert state == "failed"
    assert error["message"].startswith(f"the workflow's code raised {kind} at test_endings.py:")
    assert error["message"].endswith(f" in {function}")
    assert f"{kind} at " in caplog.text
    assert "workflow ending.a failed" in caplog.text
    assert BODY not in str(error) + caplog.text


async def test_an_error_of_ours_is_shown_by_its_text_with_what_looks_like_a_secret_masked(tmp_path: Path) -> None:
    _, error = await ended(tmp_path, ending(raising(StepRefused("the service did not take Bearer s3cret"))))

    assert error["message"] == "StepRefused: the service did not take Bearer [redacted]"


async def test_a_step_that_fails_with_a_body_in_its_text_does_not_show_it_either(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def read(ctx: Any) -> int:
        return int(BODY)

    @workflow(name="ending")
    async def flow(ctx: Context, request: Nothing) -> object:
        return await run_once(ctx, read)

    state, error = await ended(tmp_path, flow)

    assert state == "failed"
    assert BODY not in str(error) + caplog.text


async def run_once(ctx: Context, step: Any, *arguments: Any) -> Any:
    return await ctx.options(retry_policy=Never()).run(step, *arguments)


async def test_an_error_of_ours_keeps_its_text(tmp_path: Path) -> None:
    refused = StepRefused("Databricks refused: permission denied")

    assert await ended(tmp_path, ending(raising(refused))) == (
        "failed",
        {"message": "StepRefused: Databricks refused: permission denied"},
    )


@pytest.mark.parametrize(
    ("result", "told"),
    [
        ({"rates": [NAN]}, "the result of measure.rates[0] is NaN, which JSON cannot hold"),
        ("\ud800", "the result of measure holds a lone surrogate, which UTF-8 cannot hold"),
        (object(), f"the result of measure is of the type object: {UNWRITABLE}"),
        ({None: 1}, f"key 1 of the result of measure is of the type NoneType: {UNWRITABLE}"),
    ],
)
async def test_a_step_s_result_that_json_cannot_hold_fails_the_step_once(
    tmp_path: Path, result: object, told: str
) -> None:
    runs = []

    async def measure(ctx: Any) -> object:
        runs.append(ctx)

        return result

    @workflow(name="ending")
    async def flow(ctx: Context, request: Nothing) -> object:
        return await run_once(ctx, measure)

    state, error = await ended(tmp_path, flow)

    assert state == "failed"
    assert re.fullmatch(rf"{re.escape(told)} at test_endings\.py:\d+ in run_once", error["message"])
    assert len(runs) == 1


async def test_an_error_whose_text_utf_8_cannot_hold_is_the_step_s_error_all_the_same(tmp_path: Path) -> None:
    async def measure(ctx: Any) -> object:
        raise ValueError("\ud800")

    @workflow(name="ending")
    async def flow(ctx: Context, request: Nothing) -> str:
        try:
            await run_once(ctx, measure)
        except StepFailed as error:
            return str(error)

        return "no error"

    assert await ended(tmp_path, flow) == ("succeeded", "ValueError: \\ud800")


@group_step("other")
async def repeat(ctx: Any, value: Any) -> Any:
    return value if value != "nan" else NAN


async def test_an_argument_for_another_group_that_json_cannot_hold_fails_at_once(tmp_path: Path) -> None:
    @workflow(name="ending")
    async def flow(ctx: Context, request: Nothing) -> object:
        return await ctx.call(repeat, "\ud800")

    state, error = await ended(tmp_path, flow)

    assert state == "failed"
    assert error["message"].startswith("argument 1 of repeat holds a lone surrogate, which UTF-8 cannot hold at test_")


async def test_a_result_of_another_group_that_json_cannot_hold_fails_at_once(tmp_path: Path) -> None:
    @workflow(name="ending")
    async def flow(ctx: Context, request: Nothing) -> object:
        return await ctx.call(repeat, "nan")

    state, error = await ended(tmp_path, flow)

    assert state == "failed"
    assert error["message"].startswith("the result of repeat is NaN, which JSON cannot hold at test_endings.py:")


async def test_a_callback_s_body_read_as_a_number_is_not_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    @workflow(name="ending")
    async def flow(ctx: Context, request: Nothing) -> object:
        return int((await open_outcome(ctx)).value)

    async with plant(tmp_path, "memory://", flow) as works:
        await works.start("a")
        await works.opened("ending.a:1")
        await works.answer("ending.a:1", json.dumps(BODY), name="job")
        state, error = await works.ended("a")

    assert (state, error["message"].partition(" at ")[0]) == ("failed", "the workflow's code raised ValueError")
    assert BODY not in caplog.text


async def open_outcome(ctx: Context) -> Any:
    return await (await open_callback(ctx, "job"))


async def test_what_our_own_errors_in_a_group_say_is_in_the_workflow_s_error(tmp_path: Path) -> None:
    def fail() -> object:
        raise ExceptionGroup(BODY, [ValueError(BODY), ExceptionGroup(BODY, [WorkflowFailed("the card was refused")])])

    state, error = await ended(tmp_path, ending(fail))

    assert state == "failed"
    assert error["message"].startswith("the workflow's code raised ExceptionGroup at test_endings.py:")
    assert error["message"].endswith(" in fail: the card was refused")
