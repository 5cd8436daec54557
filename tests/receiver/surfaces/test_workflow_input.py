"""Whether a value is a valid input of a workflow, and how faults are named without quoting the value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel, Field

from orchestrator import Context, workflow
from receiver.surfaces.workflow_input import describe_faults, faults_of

if TYPE_CHECKING:
    from orchestrator.runs.definition import Workflow


class Line(BaseModel):
    """One line of an order."""

    amount: int


class Order(BaseModel):
    """The input of the workflow in these tests."""

    number: int
    lines: list[Line] = Field(default_factory=list)


@workflow()
async def ship(_ctx: Context, _request: Order) -> None:
    """Ship nothing."""


SHIP: Workflow[Any] = ship


@pytest.mark.parametrize("value", [{"number": 1}, {"number": 1, "lines": [{"amount": 2}]}])
def test_an_input_that_fits_has_no_faults(value: object) -> None:
    assert faults_of(SHIP, value) == []


@pytest.mark.parametrize(
    ("value", "fields"),
    [
        ({}, ["number"]),
        ({"number": "secret"}, ["number"]),
        ({"number": 1, "surprise": "secret"}, ["surprise"]),
        ({"number": 1, "lines": [{"amount": 2}, {"amount": "secret", "x": 1}]}, ["lines.1.amount"]),
        ({"number": 1, "a" * 500: "secret"}, ["a" * 100]),
    ],
)
def test_each_fault_names_its_field_and_quotes_no_value(value: object, fields: list[str]) -> None:
    faults = faults_of(SHIP, value)

    assert set(fields) <= {fault["field"] for fault in faults}
    assert "secret" not in repr(faults)


@pytest.mark.parametrize("value", [None, [], "x", 1, True])
def test_what_is_no_object_is_at_fault_as_a_whole(value: object) -> None:
    assert [fault["field"] for fault in faults_of(SHIP, value)] == ["input"]


def test_very_many_faults_are_cut() -> None:
    assert len(faults_of(SHIP, {"number": 1, "lines": [{}] * 1000})) == 50


def test_a_field_with_two_faults_is_named_once_in_a_sentence() -> None:
    faults = [{"field": "b", "message": "x"}, {"field": "a", "message": "x"}, {"field": "b", "message": "y"}]

    assert describe_faults(faults) == "These fields are not valid: b, a."
