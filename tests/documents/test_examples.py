"""What the documents' examples do beyond what the documents show."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from support.approving import ADA, BOB, code_in, desk, link_in
from support.configuration import settings
from support.documents.markdown import blocks

from orchestrator.config.settings import load_settings
from orchestrator.runs.loading import load_workflows
from orchestrator.testing.emulator.definitions import read_job
from orchestrator.testing.processes import ROOT
from orchestrator.workflows.process_order import OrderRequest, validate
from orchestrator.workflows.shop.prices import total_cents, unit_cents
from receiver.commands.keys import env_file
from receiver.senders.expressions import Expression, Misfit

if TYPE_CHECKING:
    from orchestrator import Context

WRITING, RECEIVING, RUNNING = (
    (ROOT / room / "README.md").read_text("utf-8") for room in ("orchestrator", "receiver", "scripts")
)


def example(document: str, name: str) -> str:
    """Return the block of the document whose first line names this file."""
    (found,) = (block.text for block in blocks(document) if block.file == name)

    return found


async def test_the_question_to_people_works_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "releases.py").write_text(example(WRITING, "releases.py"))
    monkeypatch.syspath_prepend(str(tmp_path))
    (release,) = load_workflows(["releases"]).values()
    monkeypatch.delitem(sys.modules, "releases")

    async with desk(tmp_path, workflows=[release]) as here:
        await here.start(release, "1", version="1.0", owners=[ADA, BOB])

        for person in (ADA, BOB):
            letter = await here.letter(person)
            await here.post(link_in(letter.text), code=code_in(letter.text))

        assert (await here.ended(name="release"))["result"] == "approve"


def test_the_jobs_for_the_emulator_are_what_it_reads() -> None:
    (printed,) = (block.text for block in blocks(WRITING) if block.language == "json")
    (job,) = map(read_job, json.loads(printed).values())

    assert list(job.all_tasks) == ["load", "each", "alarm"]
    assert [job.all_tasks["load"].fate_of(attempt) for attempt in (0, 1)] == ["fails", "succeeds"]
    assert job.webhook is not None


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
    """Return the document's own source for a shop."""
    source: dict[str, Any] = tomllib.loads(example(RECEIVING, "sources.toml"))["sources"]["shop"]
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


def test_the_settings_of_a_deployment_are_taken_beside_fresh_keys(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(env_file() + example(RUNNING, "/etc/countersign.env"))
    loaded = load_settings({}, tmp_path)

    assert loaded.engine.kind == "postgres"
    assert loaded.public_url == "https://callbacks.example.org"
    assert loaded.caller_secrets == ()


def test_the_port_that_the_documents_name_is_the_default(tmp_path: Path) -> None:
    assert settings(tmp_path).port == 8000


def test_the_mistakes_that_are_listed_have_these_texts() -> None:
    _, table = WRITING.split("| the error says | do this instead |\n|---|---|\n")
    told = [row.split("`")[1] for row in table.partition("\n\n")[0].splitlines()]
    mistakes = (ROOT / "tests/orchestrator/test_authors_mistakes.py").read_text("utf-8")

    assert told
    assert [text for text in told if text not in mistakes] == []
