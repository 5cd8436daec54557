"""Only an engine's own end at the deadline is one for the workflow: None, and no error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from resonate.codec import decode_settled
from resonate.error import ApplicationError
from resonate.types import PromiseRecord, Value

from orchestrator.durable.wait_end import ended_at_deadline, without_error
from orchestrator.failures import forbid_pickles

if TYPE_CHECKING:
    from resonate.types import PromiseState


def wait(state: PromiseState, *, settled_at: int | None, value: object = None) -> PromiseRecord:
    return PromiseRecord(id="w.1:1", state=state, value=Value(data=value), timeout_at=9, settled_at=settled_at)


@pytest.mark.parametrize("settled_at", [9, 10])
@pytest.mark.parametrize("state", ["resolved", "rejected_timedout"])
def test_the_end_at_the_deadline_is_none_in_either_form(state: PromiseState, settled_at: int) -> None:
    record = wait(state, settled_at=settled_at)

    assert ended_at_deadline(record)
    assert decode_settled(without_error(record)) is None


@pytest.mark.parametrize(
    "record",
    [
        wait("rejected_timedout", settled_at=8),
        wait("rejected_timedout", settled_at=None),
        wait("rejected", settled_at=9),
        wait("rejected_canceled", settled_at=9),
    ],
)
def test_any_other_rejection_stays_an_error(record: PromiseRecord) -> None:
    forbid_pickles()

    assert not ended_at_deadline(record)

    with pytest.raises(ApplicationError):
        decode_settled(without_error(record))


def test_an_answer_and_an_open_wait_are_left_as_they_are() -> None:
    for record in (wait("resolved", settled_at=9, value={"a": 1}), wait("pending", settled_at=None)):
        assert not ended_at_deadline(record)
        assert without_error(record) is record
