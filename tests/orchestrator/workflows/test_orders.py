"""`process_order` and `price_quote`, and the worker group that one of them needs, on every engine."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import ValidationError
from support.plant import PATIENCE, Plant, pause, plant, worker

from orchestrator import Context, StepRefused, step
from orchestrator.runs.call_graph import name_of
from orchestrator.runs.cancellation import request_cancel
from orchestrator.runs.group_ping import is_served
from orchestrator.runs.loading import load_workflows
from orchestrator.runs.roots import start_root
from orchestrator.workflows.price_quote import QuoteRequest, price_quote
from orchestrator.workflows.process_order import OrderRequest, process_order
from orchestrator.workflows.shop.order_book import OrderBook
from orchestrator.workflows.shop.prices import total_cents, unit_cents
from receiver.commands import doctor

#: The package has the workflow itself under the module's name.
order_module = sys.modules["orchestrator.workflows.process_order"]

SHIPPED = load_workflows(["orchestrator.workflows"]).values()


async def ordered(one: Plant, workflow_id: str, customer: str = "ada") -> str:
    """Start an order; return its root."""
    request = OrderRequest(order_id=workflow_id, items=["tea", "cup", "tea"], customer=customer)
    view = await start_root(
        one.engine,
        name=process_order.name,
        workflow_id=workflow_id,
        text=request.model_dump_json(),
        group=process_order.group,
        timeout=process_order.timeout,
    )
    return view.root_id


async def test_an_order_is_validated_charged_looked_up_and_shipped(tmp_path: Path, engine_url: str) -> None:
    async with plant(tmp_path, engine_url, process_order) as one, others(tmp_path, one):
        await ordered(one, "1")
        state, result = await one.ended("1")

        assert state == "succeeded"
        assert (result["order_id"], result["status"], result["earlier_orders"]) == ("1", "shipped", 0)
        assert result["total_cents"] == 2 * unit_cents("tea") + unit_cents("cup")
        steps = [name_of(record) for record in await one.steps("1")]
        assert steps == ["validate", "charge", "order_history", "ship"]

        await asyncio.gather(*(ordered(one, f"{n}") for n in range(2, 8)), ordered(one, "8", customer="grace"))
        places = [(await one.ended(f"{n}"))[1]["earlier_orders"] for n in range(2, 8)]
        assert sorted(places) == list(range(1, 7))
        assert (await one.ended("8"))[1]["earlier_orders"] == 0


@pytest.mark.slow
async def test_while_its_group_is_absent_an_order_runs_on_and_is_finished_when_the_group_comes(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("database").fresh()

    async with plant(tmp_path, url, process_order) as one:
        await ordered(one, "1")
        await one.opened(f"{one.root('1')}:3")
        await pause(1)

        assert (await one.engine.promises.get(one.root("1"))).state == "pending"
        await one.engine.check()
        assert not await is_served(one.engine, "db", seconds=1)

        async with others(tmp_path, one):
            assert (await one.ended("1"))[0] == "succeeded"
            assert await is_served(one.engine, "db", seconds=PATIENCE)


@pytest.mark.slow
async def test_a_cancel_while_the_group_is_absent_gives_the_money_back(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("database").fresh()

    async with plant(tmp_path, url, process_order) as one:
        await ordered(one, "1")
        await one.opened(f"{one.root('1')}:3")
        await request_cancel(one.engine, one.root("1"))

        assert (await one.ended("1"))[0] == "cancelled"
        assert "refund" in [name_of(record) for record in await one.steps("1")]


async def refused(_ctx: Context, /, *_: object, **__: object) -> None:
    raise StepRefused("not today")


async def test_an_order_that_cannot_be_shipped_is_refunded(
    tmp_path: Path, engine_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order_module, "ship", step()(refused))

    async with plant(tmp_path, engine_url, process_order) as one, others(tmp_path, one):
        await ordered(one, "1")

        assert await one.ended("1") == ("failed", {"message": "StepRefused: not today"})
        steps = [name_of(record) for record in await one.steps("1")]
        assert steps == ["validate", "charge", "order_history", "refused", "refund", "cancel_requested"]


async def test_a_refund_that_fails_for_good_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order_module, "ship", step()(refused))
    monkeypatch.setattr(order_module, "refund", step()(refused))

    async with plant(tmp_path, "memory://", process_order) as one:
        await ordered(one, "1")

        assert await one.ended("1") == (
            "failed",
            {"message": "StepRefused: not today; not undone: refused failed with StepRefused"},
        )


async def test_an_order_whose_charge_fails_is_not_refunded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order_module, "charge", step()(refused))

    async with plant(tmp_path, "memory://", process_order) as one:
        await ordered(one, "1")

        assert (await one.ended("1"))[0] == "failed"
        assert "refund" not in [name_of(record) for record in await one.steps("1")]


@pytest.mark.slow
async def test_doctor_says_which_group_has_no_worker(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_SECONDS", 2.0)
    url = request.getfixturevalue("database").fresh()

    async with plant(tmp_path, url, process_order) as one:
        with pytest.raises(doctor.CheckFailedError, match=r"for group db .* --group db$"):
            await doctor.check_workers(one.settings)

        async with others(tmp_path, one):
            assert await doctor.check_workers(one.settings) == "every group answers: db, default"


@pytest.mark.slow
async def test_a_worker_serves_its_own_group_and_nothing_else(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue("database").fresh()

    async with plant(tmp_path, url) as one, worker(tmp_path, one.settings, SHIPPED, group="db") as db:
        served = [engine.resonate._registry for engine in (one.engine, db)]
        names = ["process_order", "price_quote", "databricks_pipeline", "order_history", "countersign.ping"]

        assert [[name for name in names if registry.get(name, 1)] for registry in served] == [
            ["process_order", "price_quote", "databricks_pipeline", "countersign.ping"],
            ["order_history", "countersign.ping"],
        ]


async def test_an_id_keeps_its_quote(tmp_path: Path, engine_url: str) -> None:
    async with plant(tmp_path, engine_url, price_quote) as one:
        await one.start("a", sku="cup", quantity=10)
        state, result = await one.ended("a")

    assert state == "succeeded"
    assert result == {
        "sku": "cup",
        "quantity": 10,
        "unit_cents": unit_cents("cup"),
        "total_cents": unit_cents("cup") * 10 * 95 // 100,
    }


def test_many_pieces_are_cheaper() -> None:
    assert total_cents("cup", 9) == 9 * unit_cents("cup")
    assert total_cents("cup", 100) == 90 * unit_cents("cup")


async def test_an_order_that_is_entered_again_keeps_its_place(tmp_path: Path) -> None:
    book = OrderBook(tmp_path / "deep/orders.db")
    places = [
        await book.enter(key, order_id=key, customer=customer, total_cents=1)
        for key, customer in [("a", "ada"), ("b", "ada"), ("a", "ada"), ("c", "grace"), ("b", "ada")]
    ]

    assert places == [0, 1, 0, 0, 1]


@pytest.mark.parametrize(
    ("model", "given", "fields"),
    [
        (OrderRequest, {}, {"order_id", "items", "customer"}),
        (OrderRequest, {"order_id": "1", "items": [], "customer": "ada"}, {"items"}),
        (OrderRequest, {"order_id": " ", "items": ["tea"], "customer": "ada"}, {"order_id"}),
        (OrderRequest, {"order_id": "1", "items": ["tea", 1], "customer": "ada"}, {"items"}),
        (OrderRequest, {"order_id": "1", "items": ["tea"], "customer": "ada", "gift": True}, {"gift"}),
        (QuoteRequest, {"sku": "", "quantity": 0}, {"sku", "quantity"}),
        (QuoteRequest, {"sku": "cup", "quantity": "3"}, {"quantity"}),
        (QuoteRequest, {"sku": "cup", "quantity": True}, {"quantity"}),
    ],
)
def test_an_input_that_does_not_fit_names_its_fields(
    model: type[OrderRequest | QuoteRequest], given: dict[str, object], fields: set[str]
) -> None:
    with pytest.raises(ValidationError) as refused:
        model.model_validate(given)

    assert {str(fault["loc"][0]) for fault in refused.value.errors()} == fields


@contextlib.asynccontextmanager
async def others(directory: Path, one: Plant) -> AsyncIterator[None]:
    """Run a worker of the group `db` as well, unless the engine has one process for all groups."""
    async with contextlib.AsyncExitStack() as stack:
        if not one.engine.embedded:
            await stack.enter_async_context(worker(directory, one.settings, SHIPPED, group="db"))

        yield
