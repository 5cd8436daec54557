"""How the record of a promise differs from what the code asks for at its place."""

from __future__ import annotations

from typing import Any

import pytest
from resonate.types import PromiseCreateReq, PromiseRecord, TaskData, Value

from orchestrator.durable.recorded import called, difference
from orchestrator.stored_names import CALLBACK_TAG, PLACE_TAG, STEP_TAG

LOCAL, GLOBAL = {"resonate:scope": "local"}, {"resonate:scope": "global"}
STEP = LOCAL | {STEP_TAG: "charge"}
PLACE = LOCAL | {PLACE_TAG: "kept"}
WAIT = GLOBAL | {CALLBACK_TAG: "bank"}
SLEEP = GLOBAL | {"resonate:timer": "true"}


def differs(asked: dict[str, str], recorded: dict[str, str], *, call: Any = None, was: Any = None) -> str | None:
    request = PromiseCreateReq(id="w.1:2.1", timeout_at=9, param=Value(data=call), tags=asked)
    record = PromiseRecord(id="w.1:2.1", state="pending", timeout_at=9, param=Value(data=was), tags=recorded)

    return difference(request, record)


@pytest.mark.parametrize("tags", [STEP, PLACE, WAIT, SLEEP, LOCAL, GLOBAL])
def test_the_same_does_not_differ_whatever_else_is_tagged(tags: dict[str, str]) -> None:
    assert differs(tags, tags | {"countersign:life": "a"}) is None


@pytest.mark.parametrize("recorded", [STEP, LOCAL | {STEP_TAG: "validate"}])
def test_a_record_without_a_name_fits(recorded: dict[str, str]) -> None:
    assert differs(LOCAL, recorded) is None
    assert differs(recorded, LOCAL) is None


@pytest.mark.parametrize(
    ("asked", "recorded", "text"),
    [
        (STEP, PLACE, 'recorded as a part that begins with nothing recorded, the code now calls "charge"'),
        (LOCAL | {STEP_TAG: "validate"}, STEP, 'recorded as "charge", the code now calls "validate"'),
        (STEP, WAIT, 'recorded as the callback "bank", the code now calls "charge"'),
        (WAIT, SLEEP, 'recorded as a sleep, the code now calls the callback "bank"'),
        (SLEEP, GLOBAL, "recorded as a promise, the code now calls a sleep"),
    ],
)
def test_what_differs_is_named_with_its_place(asked: dict[str, str], recorded: dict[str, str], text: str) -> None:
    assert differs(asked, recorded) == f"step 2.1 is {text}"


def test_a_call_is_known_by_its_function_in_both_of_its_forms() -> None:
    call = TaskData(func="look_up", args=(), kwargs={}, version=1)

    assert called(call) == called({"func": "look_up"}) == "look_up"
    assert called(None) is called({"func": 7}) is None
    assert differs(GLOBAL, GLOBAL, call=call, was={"func": "look_up", "args": [1]}) is None
    assert differs(GLOBAL, GLOBAL, call=call, was={"func": "other"}) == (
        'step 2.1 is recorded as "other" in another group or workflow, '
        'the code now calls "look_up" in another group or workflow'
    )
