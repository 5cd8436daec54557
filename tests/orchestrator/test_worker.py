"""A worker registers the functions of its group and makes what the steps of the group need."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel
from support.configuration import settings
from support.plant import plant

from orchestrator import Context, step, workflow
from orchestrator.durable.group_steps import group_step
from orchestrator.engine import connect
from orchestrator.errors import ConfigurationError
from orchestrator.runs.loading import dependencies_of, load_workflows
from orchestrator.worker import dependencies_opened, prepare_worker
from orchestrator.workflows.shop.order_book import OrderBook

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from orchestrator.engine import Engine


class Nothing(BaseModel):
    """An input without fields."""


@workflow()
async def twin(ctx: Context, request: Nothing) -> Any:
    """Return nothing: the tests plant group steps in this workflow's module."""


@contextlib.asynccontextmanager
async def an_engine(directory: Path) -> AsyncIterator[Engine]:
    engine = await connect(settings(directory, "memory://"), work=True)

    try:
        yield engine
    finally:
        await engine.stop()


def shipped(name: str) -> list[Any]:
    return [load_workflows(["orchestrator.workflows"])[name]]


@pytest.mark.parametrize(
    ("name", "group", "names"),
    [
        ("process_order", None, ["orders"]),
        ("process_order", "db", ["orders"]),
        ("process_order", "default", []),
        ("price_quote", None, []),
    ],
)
def test_a_dependency_is_opened_for_the_group_that_it_names_and_for_no_other(
    name: str, group: str | None, names: list[str]
) -> None:
    assert [one.name for one in dependencies_of(shipped(name), group=group)] == names


async def test_what_is_given_stands_in_for_the_dependency_of_its_type(tmp_path: Path) -> None:
    book = OrderBook(tmp_path / "orders.db")

    async with an_engine(tmp_path) as engine, dependencies_opened(engine, shipped("process_order"), given=[book]):
        assert engine.resonate._deps.get(OrderBook) is book


async def test_a_group_without_workflows_or_steps_is_logged_with_the_groups_that_exist(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with an_engine(tmp_path) as engine:
        prepare_worker(engine, settings(tmp_path, "memory://"), shipped("process_order"), group="gpu")

    assert "no workflow or step belongs to group gpu; these groups exist: db, default" in caplog.text


@pytest.mark.parametrize("group", [None, "default", "db"])
async def test_a_group_step_of_a_workflows_name_is_refused_by_every_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str | None
) -> None:
    async def step(ctx: Any) -> None: ...

    step.__name__ = "twin"
    monkeypatch.setitem(twin.body.__globals__, "planted", group_step("db")(step))

    async with an_engine(tmp_path) as engine:
        with pytest.raises(ConfigurationError, match="a workflow and a group step with the same name: twin"):
            prepare_worker(engine, settings(tmp_path, "memory://"), [twin], group=group)


async def test_a_group_step_that_takes_no_ctx_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def without_ctx() -> None: ...

    monkeypatch.setitem(twin.body.__globals__, "planted", group_step("db")(without_ctx))  # type: ignore[arg-type]

    async with an_engine(tmp_path) as engine:
        with pytest.raises(ConfigurationError, match="does not take `ctx` first: without_ctx"):
            prepare_worker(engine, settings(tmp_path, "memory://"), [twin])


async def test_each_failed_try_of_a_step_is_counted(tmp_path: Path) -> None:
    @step(tries=1)
    async def charge(ctx: Context) -> None:
        raise ValueError

    @workflow(name="failing")
    async def failing(ctx: Context, request: Nothing) -> None:
        await ctx.run(charge)

    async with plant(tmp_path, "memory://", failing) as here:
        await here.start("1")
        await here.ended("1")

        assert here.engine.counts.of("step_failures") == {("charge",): 1}
