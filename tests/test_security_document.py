"""SECURITY.md: its table covers all of levels 1 and 2 of OWASP ASVS, and names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TABLE = (ROOT / "SECURITY.md").read_text("utf-8").partition("## OWASP ASVS")[2]
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")] for line in TABLE.splitlines() if re.match(r"\| V\d", line)
]
STATES = ("met", "partly", "not met", "does not apply", "the operator's")

#: How many requirements of levels 1 and 2 each section of ASVS 5.0.0 has; they are numbered from 1.
SECTIONS = {
    "V1": (2, 9, 11, 3, 2),
    "V2": (3, 3, 4, 1),
    "V3": (0, 2, 4, 6, 5, 0, 2),
    "V4": (3, 1, 2, 4),
    "V5": (1, 3, 2, 3),
    "V6": (3, 12, 4, 4, 5, 3, 0, 4),
    "V7": (3, 4, 2, 5, 2, 2),
    "V8": (2, 3, 1, 1),
    "V9": (3, 4),
    "V10": (2, 2, 4, 11, 5, 2, 3),
    "V11": (2, 3, 3, 4, 1, 1),
    "V12": (3, 2, 4),
    "V13": (1, 5, 2, 5),
    "V14": (2, 4, 3),
    "V15": (3, 3, 7),
    "V16": (1, 5, 4, 3, 3),
    "V17": (1, 4, 2),
}
REQUIREMENTS = [
    f"{chapter}.{section}.{number}"
    for chapter, counts in SECTIONS.items()
    for section, count in enumerate(counts, 1)
    for number in range(1, count + 1)
]
TESTS = sorted(set(re.findall(r"`([\w/]+\.py)::(\w+)`", TABLE)))


def covered(cell: str) -> list[str]:
    """Return the requirements that the first cell of a row names: one by one, by section or by chapter."""
    names = cell.split(", ")

    return [one for name in names for one in REQUIREMENTS if one == name or one.startswith(f"{name}.")]


def test_every_requirement_of_levels_1_and_2_has_one_row() -> None:
    assert len(REQUIREMENTS) == 253
    assert sorted(one for row in ROWS for one in covered(row[0])) == sorted(REQUIREMENTS)


def test_every_row_names_a_requirement_and_its_state() -> None:
    assert [row for row in ROWS if len(row) != 3 or not row[2].startswith(STATES)] == []
    assert [name for row in ROWS for name in row[0].split(", ") if not covered(name)] == []


@pytest.mark.parametrize(("file", "name"), TESTS)
def test_every_named_test_exists(file: str, name: str) -> None:
    module = ast.parse((ROOT / "tests" / file).read_text("utf-8"))

    assert name in {node.name for node in module.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_no_note_to_ourselves_is_left() -> None:
    assert "<!--" not in (ROOT / "SECURITY.md").read_text("utf-8")


def test_every_named_file_exists() -> None:
    named = re.findall(r"`((?:orchestrator|receiver|scripts)/[\w/]+\.py)`", TABLE)

    assert [file for file in named if not (ROOT / file).is_file()] == []
    assert len(TESTS) > 50
