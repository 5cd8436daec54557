from __future__ import annotations

from pathlib import Path

import pytest

from receiver.benchmark.plan import FULL, QUICK, Plan, SoakPlan, chosen


@pytest.mark.parametrize(
    ("arguments", "plan"), [([], Plan()), (["--quick"], QUICK), (["--full"], FULL), (["soak"], SoakPlan())]
)
def test_the_arguments_choose_how_much_is_measured(arguments: list[str], plan: Plan | SoakPlan) -> None:
    assert chosen(arguments, "bench").plan == plan


def test_restate_is_measured_only_if_asked_for() -> None:
    plans = [chosen(arguments, "bench").plan for arguments in (["--quick"], ["--quick", "--with-restate"])]

    assert [isinstance(plan, Plan) and plan.restate for plan in plans] == [False, True]


def test_a_soak_can_be_shortened() -> None:
    asked = chosen(["soak", "--callbacks", "10", "--minutes", "0.5", "--picture", "a.svg"], "bench")

    assert asked.plan == SoakPlan(callbacks=10, minutes=0.5)
    assert asked.picture == Path("a.svg")


@pytest.mark.parametrize(
    "arguments", [["--quick", "--full"], ["--size", "0"], ["--size", "x"], ["soak", "--callbacks", "-1"], ["other"]]
)
def test_arguments_that_make_no_sense_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        chosen(arguments, "bench")

    assert raised.value.code == 2
    assert "usage: bench" in capsys.readouterr().err
