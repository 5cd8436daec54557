"""The call graph: found whole, whatever its shape, read page by page, at a cost that is known."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import pytest
from resonate.types import PromiseRecord, Value

from orchestrator.engine.promises import Promises
from orchestrator.errors import UnknownPromise
from orchestrator.runs.call_graph import GAP, walk
from orchestrator.stored_names import CALLBACK_TAG


class Store:
    """Promises by id; counts how often it is asked."""

    def __init__(self, ids: Iterable[str], *, pending: Iterable[str] = (), tags: dict[str, str] | None = None) -> None:
        self.ids = dict.fromkeys(ids)
        self.pending = set(pending)
        self.tags = tags or {}
        self.reads = 0

    async def get(self, promise_id: str) -> PromiseRecord:
        self.reads += 1

        if promise_id not in self.ids:
            raise UnknownPromise(promise_id)

        return PromiseRecord(
            id=promise_id,
            state="pending" if promise_id in self.pending else "resolved",
            param=Value(),
            value=Value(),
            tags=self.tags,
            timeout_at=1,
            created_at=1,
        )


async def walked(store: Store, **how: Any) -> list[str]:
    return [record.id async for record in walk(cast("Promises", store), "r", **how)]


NESTED = ["r:1", "r:2", "r:2.1", "r:2.1.1", "r:2.2", "r:2.2.1", "r:3", "r:3.1", "r:4"]


async def test_parents_come_before_children_and_the_first_before_the_next() -> None:
    assert await walked(Store(reversed(NESTED))) == NESTED


@pytest.mark.parametrize("place", range(len(NESTED)))
async def test_a_walk_goes_on_after_any_step(place: int) -> None:
    assert await walked(Store(NESTED), after=NESTED[place]) == NESTED[place + 1 :]


@pytest.mark.parametrize(
    "after",
    [
        "r",
        "r:",
        "r:0",
        "r:1.",
        "r:x",
        "other:1",
        "r:1.-1",
        "r:1.0",
        "r:1.0.0.1",
        "r:\u0661",
        "r:1" + ".1" * 2000,
        "r:d1f",
    ],
)
async def test_what_is_no_step_of_the_root_is_refused(after: str) -> None:
    with pytest.raises(ValueError, match="no such step"):
        await walked(Store(NESTED), after=after)


PARTS = ["r:1", "r:1.0.1", "r:1.0.1.0.1", "r:1.0.1.1", "r:1.0.2", "r:1.1", "r:2", "r:2.0.1", "r:3"]


@pytest.mark.parametrize("tags", [{}, {CALLBACK_TAG: "answer"}])
async def test_what_a_part_has_begun_comes_after_what_it_is_numbered_below(tags: dict[str, str]) -> None:
    ids = PARTS if not tags else [each for each in PARTS if each not in {"r:1.1", "r:1.0.1.1"}]

    assert await walked(Store(["r:0", *reversed(ids)], tags=tags)) == ids
    assert await walked(Store(["r:0", *ids], pending=ids, tags=tags), unsettled=True) == ids
    assert await walked(Store(["r:0", *ids], tags=tags), unsettled=True) == [
        each for each in ids if each not in {"r:1.1", "r:1.0.1.1"}
    ]

    for place in range(len(ids)):
        assert await walked(Store(["r:0", *ids], tags=tags), after=ids[place]) == ids[place + 1 :]


async def test_missing_numbers_are_bridged_among_siblings_and_at_the_beginning() -> None:
    far = f"r:{GAP + 1}"
    ids = [far, f"{far}.2", f"{far}.2.1", f"{far}.{2 + GAP + 1}", "r:40"]
    ids.remove("r:40")

    assert await walked(Store(ids)) == ids
    assert await walked(Store([f"r:{GAP + 2}"])) == []


async def test_a_graph_of_any_length_and_depth_is_found_whole() -> None:
    long = [f"r:{number}" for number in range(1, 5001)]
    deep = ["r:1" + ".1" * depth for depth in range(1000)]

    assert await walked(Store(long)) == long
    assert await walked(Store(deep)) == deep
    assert await walked(Store(deep), after=deep[499]) == deep[500:]


async def test_nothing_is_looked_for_below_what_is_settled_or_has_no_children() -> None:
    ids = [f"r:{number}" for number in range(1, 101)]
    store, waits = Store(ids), Store(ids, pending=ids, tags={CALLBACK_TAG: "answer"})
    await walked(store, unsettled=True)
    await walked(waits)

    # One more read says whether parts of the code ran at once.
    assert store.reads == waits.reads == 100 + GAP + 1 + 1
    assert await walked(Store(NESTED, pending=["r:2", "r:2.1"]), unsettled=True) == [
        "r:1",
        *NESTED[1:5],
        "r:3",
        "r:4",
    ]
