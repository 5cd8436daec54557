"""Starting a run again, on every engine: the same input under a new id, once per key, recorded with who and why."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from pydantic import BaseModel
from support.plant import Plant, plant

from orchestrator import Context, workflow
from orchestrator.errors import UnknownPromise
from orchestrator.runs.roots import view_root
from orchestrator.runs.start import Again
from orchestrator.runs.start_again import CannotStartAgain, start_again

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from resonate.types import PromiseRecord


class Sum(BaseModel):
    """What is added up."""

    left: int
    right: int = 1


class Other(BaseModel):
    """Another input."""

    words: str


@workflow()
async def add(ctx: Context, request: Sum) -> int:
    """Add two numbers."""
    _ = ctx

    return request.left + request.right


@pytest.fixture
async def here(tmp_path: Path, engine_url: str) -> AsyncIterator[Plant]:
    async with plant(tmp_path, engine_url, add) as one:
        yield one


async def again(here: Plant, root_id: str = "add.a:b".replace(":", ";"), **options: Any) -> Any:
    return await start_again(here.engine, add, root_id, by="ops", reason="the sum was lost", **options)


async def test_it_runs_with_the_same_input_under_a_new_id_and_says_where_it_comes_from(here: Plant) -> None:
    await here.start("a;b", left=2)
    new = await again(here)

    assert new.created
    assert new.root_id.startswith("add.a;b.again-")
    assert new.again == Again(of="add.a;b", by="ops", reason="the sum was lost")
    assert (new.again.name.workflow, new.again.name.id) == ("add", "a:b")
    ended = view_root(await here.engine.wait_settled(new.root_id, seconds=20))
    assert (ended.state, json.loads(ended.result or ""), json.loads(ended.request or "")) == (
        "succeeded",
        3,
        {"left": 2},
    )
    assert ended.again == new.again
    assert (await here.end("a;b")).again is None


async def test_with_the_same_key_it_is_started_once_and_without_one_each_time(here: Plant) -> None:
    await here.start("a;b", left=2)
    first, second = await again(here, key="form"), await again(here, key="form")

    assert (first.created, second.created, second.root_id) == (True, False, first.root_id)
    assert len({(await again(here)).root_id for _ in range(3)} | {first.root_id}) == 4


async def test_the_key_of_another_operator_or_of_an_earlier_run_with_this_id_is_another(
    here: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    await here.start("a;b", left=2)
    first = await again(here, key="form")
    other = await start_again(here.engine, add, "add.a;b", by="another", key="form")
    get = here.engine.promises.get

    async def later(promise_id: str) -> PromiseRecord:
        record = await get(promise_id)

        return msgspec.structs.replace(record, created_at=record.created_at + 1)

    monkeypatch.setattr(here.engine.promises, "get", later)
    third = await again(here, key="form")

    assert len({first.root_id, other.root_id, third.root_id}) == 3
    assert (first.created, other.created, third.created) == (True, True, True)


async def test_a_run_that_was_started_again_is_started_again_under_an_id_that_is_no_longer(here: Plant) -> None:
    await here.start("a" * 128, left=2)
    first = await again(here, f"add.{'a' * 128}")
    second = await again(here, first.root_id)

    assert len(first.root_id) == len(second.root_id) == len("add.") + 128
    assert first.root_id != second.root_id
    assert second.again.of == first.root_id


async def test_an_input_that_does_not_fit_any_more_starts_nothing(here: Plant) -> None:
    await here.start("a;b", left=2)

    with pytest.raises(CannotStartAgain, match="words"):
        await start_again(here.engine, replace(add, request=Other), "add.a;b", by="ops")  # type: ignore[arg-type]


async def test_a_run_that_does_not_exist_cannot_be_started_again(here: Plant) -> None:
    with pytest.raises(UnknownPromise):
        await again(here, "add.nothing")
