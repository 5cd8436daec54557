"""Root promises: what a workflow is started with, and what its root shows even if somebody else wrote to it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel
from resonate.types import Value
from support.plant import plant

from orchestrator import Context, WorkflowFailed, workflow
from orchestrator.errors import EngineUnavailable
from orchestrator.runs.roots import Ending, view_root
from orchestrator.runs.start import Start

if TYPE_CHECKING:
    from pathlib import Path


class Nothing(BaseModel):
    """No input."""


@workflow()
async def ending(ctx: Context, request: Nothing) -> None:
    """End."""


def test_an_input_is_bound_to_its_root() -> None:
    stored = Start(root_id="plain.a", text='{"n": 1}').stored()

    assert Start.read(stored, root_id="plain.a").request == {"n": 1}

    for other in (stored, {}, None, "x", {"countersign": 2, "root": "plain.b"}):
        with pytest.raises(WorkflowFailed):
            Start.read(other, root_id="plain.b")


@pytest.mark.parametrize("name", ["countersign", "root", "request"])
def test_an_input_that_is_incomplete_or_of_another_form_starts_nothing(name: str) -> None:
    stored = Start(root_id="plain.a", text='{"n": 1}').stored()
    missing = {key: held for key, held in stored.items() if key != name}

    for other in (missing, stored | {name: None}, stored | {name: 2}, stored | {name: {"n": 1}}):
        with pytest.raises(WorkflowFailed, match="not one that a workflow was started with under this id"):
            Start.read(other, root_id="plain.a")


def test_a_result_that_is_no_json_is_refused() -> None:
    for result in (float("nan"), object()):
        with pytest.raises(ValueError, match=r"."):
            Ending.succeeded(result)


@pytest.mark.parametrize(
    "ending",
    [
        Ending.failed("\ud800"),
        Ending.raised(WorkflowFailed("half an emoji: \ud83d")),
        Ending.raised(WorkflowFailed("a", **{"\ud800": 1})),
    ],
)
def test_what_is_stored_of_an_ending_is_utf_8(ending: Ending) -> None:
    error = json.loads(ending.stored()["error"])

    assert json.dumps(error, ensure_ascii=False).encode()


async def test_what_an_earlier_version_stored_with_a_lone_surrogate_can_be_answered(tmp_path: Path) -> None:
    async with plant(tmp_path, "memory://", ending, working=False) as works:
        view = await works.start("a")
        stored = {"countersign": 1, "state": "succeeded", "result": json.dumps({"a": "\ud800"}), "error": None}
        await works.engine.resonate.promises.resolve(view.root_id, Value(data=stored))
        view = view_root(await works.engine.promises.get(view.root_id))

    assert json.dumps(json.loads(view.result or ""), ensure_ascii=False).encode() == b'{"a": "\\\\ud800"}'


@pytest.mark.parametrize(
    "changed",
    [
        {"state": "running"},
        {"state": []},
        {"result": 7},
        {"result": {"a": 1}},
        {"error": []},
        {"countersign": 2},
    ],
)
async def test_a_root_that_holds_no_ending_of_ours_has_failed(tmp_path: Path, changed: dict[str, Any]) -> None:
    async with plant(tmp_path, "memory://", ending, working=False) as works:
        view = await works.start("a")
        stored = {"countersign": 1, "state": "succeeded", "result": "null", "error": None} | changed
        await works.engine.resonate.promises.resolve(view.root_id, Value(data=stored))
        view = view_root(await works.engine.promises.get(view.root_id))

    assert (view.state, view.result) == ("failed", None)
    assert json.loads(view.error or "") == {"message": "the workflow's code could not be run"}


@pytest.mark.parametrize("missing", ["countersign", "state", "result", "error"])
async def test_a_root_that_holds_an_incomplete_ending_has_failed(tmp_path: Path, missing: str) -> None:
    async with plant(tmp_path, "memory://", ending, working=False) as works:
        view = await works.start("a")
        stored: dict[str, Any] = {"countersign": 1, "state": "succeeded", "result": "null", "error": None}
        del stored[missing]
        await works.engine.resonate.promises.resolve(view.root_id, Value(data=stored))
        view = view_root(await works.engine.promises.get(view.root_id))

    assert (view.state, view.result) == ("failed", None)


@pytest.mark.parametrize(
    "start",
    [
        None,
        {"root": "ending.a", "request": "{}"},
        {"countersign": 2, "root": "ending.a", "request": "{}"},
        {"countersign": 1, "request": "{}"},
        {"countersign": 1, "root": "ending.b", "request": "{}"},
        {"countersign": 1, "root": "ending.a"},
        {"countersign": 1, "root": "ending.a", "request": {}},
    ],
)
async def test_a_root_that_was_not_started_by_us_is_not_shown(tmp_path: Path, start: object) -> None:
    async with plant(tmp_path, "memory://", ending, working=False) as works:
        param = {"func": "ending", "args": [start]}
        root = await works.engine.promises.create("ending.a", timeout_at=2**42, param=param, tags={})

        with pytest.raises(EngineUnavailable, match="not started by Countersign"):
            view_root(root)


async def test_a_start_is_once_per_id_whoever_starts_it(tmp_path: Path, engine_url: str) -> None:
    async with plant(tmp_path, engine_url, ending, working=False) as works:
        views = await asyncio.gather(*(works.start("a") for _ in range(20)))

        assert [view.created for view in views].count(True) == 1
        assert view_root(await works.engine.promises.get(works.root("a"))).state == "running"
