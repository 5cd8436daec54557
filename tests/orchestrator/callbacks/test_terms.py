"""The terms of a wait: they hold for that wait only, and without any, a link may answer it."""

from __future__ import annotations

from typing import Any

import pytest
from resonate.types import PromiseRecord, Value

from orchestrator.callbacks.claims import Claims
from orchestrator.callbacks.terms import Terms
from orchestrator.stored_names import OPENING

RUN_ONLY = Terms(link=False, keeps_later=True, about={"answer": "run"})


def record(data: Any, promise_id: str = "night.a:1.1") -> PromiseRecord:
    return PromiseRecord(
        id=promise_id, state="pending", param=Value(data=data), timeout_at=2**42, created_at=7, tags=dict(OPENING)
    )


def test_terms_are_read_as_they_were_stored() -> None:
    assert Terms.read(record(RUN_ONLY.stored("night.a:1.1"))) == RUN_ONLY


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        RUN_ONLY.stored("night.a:1.2"),
        RUN_ONLY.stored("night.a:1.1") | {"link": 0},
        RUN_ONLY.stored("night.a:1.1") | {"countersign": 2},
    ],
)
def test_what_is_not_for_this_very_wait_says_nothing(data: object) -> None:
    assert Terms.read(record(data)) == Terms()


@pytest.mark.parametrize("link", [True, False])
def test_claims_are_for_a_wait_only_if_a_link_may_answer_it(link: bool) -> None:  # noqa: FBT001
    claims = Claims(
        promise_id="night.a:1.1",
        callback="load-1",
        audience="machine",
        subject="job 7",
        outcomes=("succeeded", "failed"),
        expires_at=2**33,
        opened_at=7,
    )

    assert claims.is_for(record(Terms(link=link).stored("night.a:1.1"))) is link
