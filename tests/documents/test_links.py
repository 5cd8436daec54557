"""Links between the documents lead somewhere, and so do the files and modules that they name."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
from support.documents.markdown import FENCE, anchors, blocks, links, prose

from orchestrator.testing.processes import ROOT

DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "SECURITY.md", "CHANGELOG.md")),
    *(ROOT / room / "README.md" for room in ("orchestrator", "receiver", "scripts")),
]
FRONT_PAGE = 200


def broken(document: Path) -> list[str]:
    """Return the links of the document that lead nowhere within the repository."""
    return [
        f"{file}#{anchor}"
        for file, anchor in links(document)
        if not file.exists() or (anchor and anchor not in anchors(file.read_text("utf-8")))
    ]


def missing(text: str) -> list[str]:
    """Return the files and modules of ours that a text names and that are not there."""
    files = re.findall(r"`((?:orchestrator|receiver|scripts|tests)/[\w./@-]*\w)`", text)
    modules = re.findall(r"`((?:orchestrator|receiver)(?:\.\w+)+)`", text)

    return [
        *(name for name in files if not (ROOT / name).exists() and not (ROOT / "tests" / name).exists()),
        *(name for name in modules if not is_there(name)),
    ]


def is_there(name: str) -> bool:
    """Return whether this is a module, or something that a package is imported for."""
    package, _, last = name.rpartition(".")

    try:
        return importlib.util.find_spec(name) is not None or hasattr(importlib.import_module(package), last)
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_every_link_and_every_name_of_ours_leads_somewhere(document: Path) -> None:
    assert broken(document) == []
    assert missing(prose(document.read_text("utf-8"))) == []


def test_a_link_that_leads_nowhere_is_seen(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# One\n[here](b.md), [there](#two), [well](#one), [away](https://example.org/)\n")

    assert broken(tmp_path / "a.md") == [f"{tmp_path}/b.md#", f"{tmp_path}/a.md#two"]
    assert missing("`scripts/nothing.py`, `orchestrator.nothing`, `receiver/app.py`, `orchestrator.workflow`") == [
        "scripts/nothing.py",
        "orchestrator.nothing",
    ]


def test_the_front_page_is_short_and_leads_to_every_document() -> None:
    front = ROOT / "README.md"
    led_to = {file for file, _ in links(front)}

    assert len(front.read_text("utf-8").splitlines()) <= FRONT_PAGE
    assert led_to >= set(DOCUMENTS) - {front}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_a_document_is_read_whole_by_this_reader(document: Path) -> None:
    """A block that it would overlook would not be run."""
    text = document.read_text("utf-8")

    assert text.count(FENCE) == 2 * len(blocks(text))
