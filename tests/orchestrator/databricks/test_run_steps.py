"""The result of a trigger, in the form in which its step's record stores it. The pipeline's tests run the steps."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.databricks.run_steps import Later, Refused, Triggered, read_trigger


@pytest.mark.parametrize(
    ("result", "stored"),
    [
        (Triggered(7), {"run_id": 7}),
        (Triggered(7, 123), {"run_id": 7, "job_id": 123}),
        (Triggered(7, 123, "https://w/run"), {"run_id": 7, "job_id": 123, "page": "https://w/run"}),
        (Refused("there is no such job"), {"refused": "there is no such job"}),
        (Later(2.5, over=True), {"retry_after": 2.5, "over": True}),
        (Later(None, over=False), {"retry_after": None, "over": False}),
    ],
)
def test_a_result_is_stored_in_the_form_of_earlier_releases_and_read_again(
    result: Triggered | Refused | Later, stored: dict[str, Any]
) -> None:
    assert result.stored() == stored
    assert read_trigger(stored) == result


def test_a_record_of_something_else_is_not_taken_for_a_result() -> None:
    with pytest.raises(LookupError):
        read_trigger({"over": False})
