"""What the README shows is so."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from support.approving import ADA, BOB, code_in, desk, link_in
from support.plant import plant

from orchestrator.runs.loading import load_workflows
from orchestrator.workflows.process_order import OrderRequest, validate
from orchestrator.workflows.shop.prices import total_cents, unit_cents
from receiver.senders.expressions import Expression, Misfit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator import Context

README = (Path(__file__).parents[1] / "README.md").read_text()


@pytest.fixture
def refunds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The README's own workflow as a module."""
    (block,) = re.findall(r"```python\n(from datetime.*?)```", README, re.DOTALL)
    (tmp_path / "refunds.py").write_text(block)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "refunds"
    del sys.modules["refunds"]


async def test_the_workflow_of_your_own_works_as_printed(
    refunds: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (refund,) = load_workflows([refunds]).values()

    async with plant(tmp_path, "memory://", refund) as works:
        await works.start("a", order="42", cents=100)
        await works.opened("refund.a:1")
        await works.answer("refund.a:1", name="bank")

        assert await works.ended("a") == ("succeeded", {"order": "42", "transfer": "succeeded"})
        assert "POST to the bank" in capsys.readouterr().out


@pytest.mark.parametrize("name", re.findall(r"^\$ scripts/(\w+)", README, re.MULTILINE))
def test_every_script_that_it_names_is_there(name: str) -> None:
    assert (Path(__file__).parents[1] / "scripts" / name).is_file()


async def test_the_question_to_people_works_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = re.findall(r"```python\n(from orchestrator import Context, Question.*?)```", README, re.DOTALL)
    (tmp_path / "releases.py").write_text(block)
    monkeypatch.syspath_prepend(str(tmp_path))
    (release,) = load_workflows(["releases"]).values()
    monkeypatch.delitem(sys.modules, "releases")

    async with desk(tmp_path, workflows=[release]) as here:
        await here.start(release, "1", version="1.0", owners=[ADA, BOB])

        for person in (ADA, BOB):
            letter = await here.letter(person)
            await here.post(link_in(letter.text), code=code_in(letter.text))

        assert (await here.ended(name="release"))["result"] == "approve"


#: A Shopify order as its webhook sends it, cut to what matters here.
SHOPIFY_ORDER: dict[str, Any] = {
    "id": 820982911946154508,
    "name": "#9999",
    "email": "jon@example.com",
    "line_items": [
        {"id": 866550311766439020, "title": "IPod Nano - 8GB", "sku": "IPOD2008PINK", "quantity": 1, "price": "199.00"},
        {"id": 141249953214522974, "title": "Gift wrapping", "sku": None, "quantity": 3, "price": "1.00"},
        {"id": 257004973105704598, "title": "Engraving", "sku": "", "quantity": 2, "price": "5.00"},
        {
            "id": 257004973105704599,
            "title": "Mug",
            "sku": "MUG",
            "quantity": 12,
            "price": "9.00",
            "variant_title": None,
        },
    ],
}


def shop() -> dict[str, Any]:
    """Return the README's own source for a shop."""
    (block,) = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    source: dict[str, Any] = tomllib.loads(block)["sources"]["shop"]
    return source


async def test_the_shops_order_loses_no_line_and_no_quantity(tmp_path: Path) -> None:
    found = Expression(shop()["input"]).find(SHOPIFY_ORDER)
    request = OrderRequest.model_validate(found)

    assert request.items == ["1 x IPOD2008PINK", "3 x Gift wrapping", "2 x Engraving", "12 x MUG"]
    assert (request.order_id, request.customer) == ("#9999", "jon@example.com")
    assert await validate(cast("Context", None), request) == (
        unit_cents("IPOD2008PINK")
        + total_cents("Gift wrapping", 3)
        + total_cents("Engraving", 2)
        + total_cents("MUG", 12)
    )


@pytest.mark.parametrize(
    "line", [{"quantity": 1}, {"quantity": 1, "sku": None, "title": None}, {"quantity": 1, "sku": 7}]
)
def test_a_line_that_cannot_be_named_is_refused_and_not_dropped(line: dict[str, object]) -> None:
    with pytest.raises(Misfit):
        Expression(shop()["input"]).find(SHOPIFY_ORDER | {"line_items": [*SHOPIFY_ORDER["line_items"], line]})
