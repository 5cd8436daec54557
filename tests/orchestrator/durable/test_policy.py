"""How often a step is tried, with which pauses, and what an author may write for that."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from resonate.retry import Constant

from orchestrator import Context, group_step, step
from orchestrator.durable.policy import Policy
from orchestrator.errors import Misdefined, StepUnavailable


async def plain(ctx: Context, order: str) -> int:
    return 7


def test_pauses_double_up_to_a_minute_and_end_with_the_tries() -> None:
    pauses = [Policy(tries=9).pause(number, ValueError()) for number in range(1, 10)]

    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, None]
    assert Policy(tries=10**9).pause(10**8, ValueError()) == 60


@pytest.mark.parametrize(
    "error", [TypeError(), NameError(), UnboundLocalError(), AttributeError(), FileNotFoundError()]
)
def test_mistakes_and_what_the_policy_names_are_not_tried_again(error: Exception) -> None:
    assert Policy(never_retry=(OSError,)).pause(1, error) is None
    assert Policy(pace=Constant(delay=1, max_retries=5), never_retry=(OSError,)).pause(1, error) is None


def test_the_sdks_own_policies_pace_the_tries_where_one_is_given() -> None:
    policy = Policy(pace=Constant(delay=3, max_retries=2))

    assert [policy.pause(number, ValueError()) for number in (1, 2, 3)] == [3, 3, None]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"tries": 0}, "`tries` of a step is a number of at least 1, not 0"),
        ({"tries": True}, "not True"),
        ({"tries": 2.0}, "not 2.0"),
        ({"never_retry": "ValueError"}, "`never_retry` of a step is a tuple of exception classes, not 'ValueError'"),
        ({"never_retry": (ValueError(),)}, "tuple of exception classes"),
        ({"timeout": 0}, "`timeout` of a step is a timedelta or seconds, more than 0, not 0"),
        ({"timeout": timedelta(seconds=-1)}, "more than 0"),
        ({"timeout": float("nan")}, "not nan"),
        ({"timeout": float("inf")}, "not inf"),
        ({"timeout": "5 s"}, "not '5 s'"),
    ],
)
def test_a_policy_out_of_range_is_refused_where_it_is_written(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(Misdefined) as refused:
        step(**fields)(plain)

    assert text in str(refused.value)

    if "stored" not in fields:
        with pytest.raises(Misdefined, match="of a group step"):
            group_step("db", **fields)


def test_one_class_that_is_never_tried_again_needs_no_tuple() -> None:
    assert step(never_retry=KeyError)(plain).policy.never_retry == (KeyError,)  # type: ignore[call-overload]


def test_a_system_that_asked_to_be_called_later_gets_the_pause_it_asked_for_up_to_an_hour() -> None:
    asked = [StepUnavailable("later", retry_after=seconds) for seconds in (None, 0.5, 90, 86_400, float("nan"))]

    assert [Policy().pause(2, error) for error in asked] == [2, 2, 90, 3600, 2]
    assert Policy(tries=2).pause(2, asked[2]) is None
    assert Policy(pace=Constant(delay=3, max_retries=2)).pause(1, asked[2]) == 3
