"""Who may answer a wait: what its record says for that very wait, and the tags by which it is found."""

from __future__ import annotations

from typing import Any

import pytest
from resonate.types import PromiseRecord, Value

from orchestrator.callbacks.answerers import Answerers
from orchestrator.engine.people import PeopleDigests
from orchestrator.stored_names import AUDIENCE_TAG, PEOPLE_TAG

ADA = Answerers(audience="approver", subject="ada@example.org")
DIGESTS = PeopleDigests()


def record(param: Any, promise_id: str = "w.1:1") -> PromiseRecord:
    return PromiseRecord(id=promise_id, state="pending", param=Value(data=param), timeout_at=9, created_at=1)


def test_what_is_stored_is_read_for_that_wait_and_for_no_other() -> None:
    assert Answerers.read(record(ADA.stored("w.1:1"))) == ADA
    assert Answerers.read(record(ADA.stored("w.1:1"), "w.1:2")) == Answerers(audience="machine")


@pytest.mark.parametrize(
    "other", [None, "odd", {}, {"audience": "approver"}, ADA.stored("w.1:1") | {"audience": "all"}]
)
def test_a_wait_whose_record_says_nothing_is_for_a_machine(other: object) -> None:
    assert Answerers.read(record(other)) == Answerers(audience="machine")


def test_a_person_is_found_whatever_the_case_of_their_address() -> None:
    assert ADA.includes("Ada@Example.org")
    assert not ADA.includes("bob@example.org")
    assert Answerers(audience="approver", subject="a@x.org", people=("a@x.org", "B@x.org")).includes("b@x.org")


def test_tags_have_digests_of_people_and_nothing_of_a_machine() -> None:
    assert Answerers(audience="machine").tags(DIGESTS) == {}
    assert Answerers(audience="machine", subject="job 7").tags(DIGESTS) == {AUDIENCE_TAG: "machine"}
    assert ADA.tags(DIGESTS) == {AUDIENCE_TAG: "approver", PEOPLE_TAG: DIGESTS.tag(["ada@example.org"])}
    assert "ada@" not in str(ADA.tags(DIGESTS))
