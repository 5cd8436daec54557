"""Records are found in every reply, and taken for a record only if the SDK would."""

from __future__ import annotations

from typing import Any

import pytest
from resonate.send import parse_promise
from resonate.types import PromiseRecord, Value

from orchestrator.engine.records import record_of, record_places

RECORD = {"id": "w", "state": "pending", "timeoutAt": 9}


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        (None, []),
        ("no", []),
        ({}, []),
        ({"promise": 1}, [1]),
        ({"promise": 1, "preload": [2, 3]}, [1, 2, 3]),
        ({"action": {"data": {"promise": 1}}, "preload": [2]}, [1, 2]),
        ({"promises": [1, 2], "cursor": None}, [1, 2]),
        ({"action": {"data": {}}, "preload": 7, "promises": None}, []),
        ({"action": {"data": 7}}, []),
        ({"action": 7}, []),
    ],
)
def test_every_place_of_a_record_is_found(reply: Any, found: list[int]) -> None:
    assert [container[key] for container, key in record_places(reply)] == found


@pytest.mark.parametrize(
    "found",
    [
        RECORD,
        RECORD | {"param": None, "value": None, "settledAt": None},
        RECORD | {"param": {"data": "aGk=", "headers": {}}, "value": {}, "tags": {"a": "b"}, "createdAt": 3, "new": 1},
    ],
)
def test_a_record_is_what_the_sdk_makes_of_it(found: dict[str, Any]) -> None:
    record = record_of(found)

    assert record == parse_promise({"promise": found})
    assert record_of(record) is record
    assert parse_promise({"promise": record}) is record


@pytest.mark.parametrize(
    "found", [None, 7, "w", [], {}, {"id": "w"}, RECORD | {"timeoutAt": "soon"}, RECORD | {"tags": {"a": 1}}]
)
def test_what_the_sdk_would_refuse_is_no_record(found: Any) -> None:
    assert record_of(found) is None


def test_a_record_without_payloads_has_empty_ones() -> None:
    assert record_of(RECORD) == PromiseRecord(id="w", state="pending", param=Value(), value=Value(), timeout_at=9)
