"""What a root shows without its payload, however its value is held."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from resonate.connections.local import DurablePromise

from orchestrator.engine.embedded.disk.root_rows import RootRow, holds_something, root_status, row_of
from orchestrator.stored_names import NONCE_TAG, STATE_HEADER

VALUE = {"headers": {STATE_HEADER: "failed"}, "data": "c2VhbGVk"}


def root(state: str = "resolved", value: Any = None, id_: str = "ask.1", tag: str = NONCE_TAG) -> DurablePromise:
    return DurablePromise(
        id=id_,
        state=state,  # type: ignore[arg-type]
        param=None,
        value=value,
        tags={tag: "x"},
        timeout_at=9,
        created_at=1,
        settled_at=None,
        awaiters=set(),
        subscribers=set(),
    )


@pytest.mark.parametrize("value", [VALUE, msgspec.Raw(msgspec.json.encode(VALUE))])
def test_the_state_of_an_end_is_read_from_the_header(value: Any) -> None:
    assert root_status(root(value=value)) == "failed"


@pytest.mark.parametrize(
    "value",
    [
        *(None, {}, {"headers": None}, {"headers": 7}, {"headers": {STATE_HEADER: "done"}}, {"headers": {"a": "b"}}),
        *(msgspec.Raw(text) for text in (b"{}", b"7", b"", b'{"headers":7}', b'{"headers":{"a":1}}', b'{"data":"x"}')),
    ],
)
def test_without_a_header_that_names_a_state_it_is_an_end_of_some_kind(value: Any) -> None:
    assert root_status(root(value=value)) == "ended"


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("pending", "running"),
        ("rejected", "failed"),
        ("rejected_timedout", "expired"),
        ("rejected_canceled", "cancelled"),
    ],
)
def test_every_other_state_is_that_of_the_promise(state: str, status: str) -> None:
    assert root_status(root(state, VALUE)) == status


def test_only_a_root_has_a_row() -> None:
    assert row_of(root(value=VALUE)) == RootRow("ask.1", "ask", "failed", 1)
    assert row_of(root(tag="other")) is None
    assert row_of(root(id_="ask.1:1")) is None
    assert row_of(None) is None


@pytest.mark.parametrize(
    ("param", "held"),
    [(None, False), (b"{}", False), (b'{"data":null}', False), (b'{"data":"x"}', True), (b"7", True)],
)
def test_a_param_holds_something_or_not(param: bytes | None, held: bool) -> None:  # noqa: FBT001
    assert holds_something(None if param is None else msgspec.Raw(param)) is held
