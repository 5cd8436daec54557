"""The ids of sub-workflows: the same for the same step of the same run, valid in the API, and never too long."""

from __future__ import annotations

import pytest
from resonate.types import PromiseRecord

from orchestrator.runs.children import child_id, child_of
from orchestrator.runs.root_ids import is_workflow_id
from orchestrator.stored_names import CHILD_TAG, NONCE_TAG


def record(promise_id: str, **tags: str) -> PromiseRecord:
    return PromiseRecord(id=promise_id, state="pending", timeout_at=9, created_at=4, tags=tags)


def root(promise_id: str, nonce: str = "n") -> PromiseRecord:
    return record(promise_id, **{NONCE_TAG: nonce})


def test_an_id_is_that_of_one_step_of_one_run() -> None:
    ids = {
        child_id(root("order.42"), "order.42:1"),
        child_id(root("order.42"), "order.42:1.1"),
        child_id(root("order.42"), "order.42:11"),
        child_id(root("order.42", "another run"), "order.42:1"),
        child_id(root("order.43"), "order.43:1"),
        child_id(root("refund.42"), "refund.42:1"),
    }

    assert len(ids) == 6
    assert child_id(root("order.42"), "order.42:1") == child_id(root("order.42"), "order.42:1")
    assert child_id(root("order.42"), "order.42:1").startswith("42.1-")


@pytest.mark.parametrize("parent", ["1", "x" * 128, "a;b+c@d", "-", "a.b.c"])
def test_an_id_is_one_that_the_api_takes_however_deep_it_is_nested(parent: str) -> None:
    name = f"order.{parent}"

    for _ in range(20):
        child = child_id(root(name), f"{name}:{'12.' * 40}1")
        assert is_workflow_id(child)
        name = f"order.{child}"


def test_only_a_step_that_is_tagged_so_runs_a_workflow() -> None:
    parent = root("order.42")

    assert child_of(parent, record("order.42:1")) is None
    assert child_of(parent, record("order.42:1", **{CHILD_TAG: "ship"})) == ("ship", child_id(parent, "order.42:1"))
