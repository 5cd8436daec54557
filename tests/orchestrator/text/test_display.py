"""Text from strangers, made fit to be shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.text.display import one_line, paragraphs

FAMILY = "\N{MAN}\N{ZERO WIDTH JOINER}\N{WOMAN}\N{ZERO WIDTH JOINER}\N{GIRL}"


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "Größe 5 €",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "שלום",
        FAMILY,
        "a\u00a0b",
        "日本語",
        "<b>&\"'",
    ],
)
def test_what_people_write_stays_as_it_is(text: str) -> None:
    assert paragraphs(text, 100) == text


@pytest.mark.parametrize(
    "character", ["\x00", "\x1b", "\x7f", "\x9b", "\u202e", "\u2066", "\u2028", "\ufeff", "\u2060", "\ud800", "\ue000"]
)
def test_what_hides_or_reorders_others_is_replaced(character: str) -> None:
    assert paragraphs(f"a{character}b", 100) == "a\ufffdb"
    assert one_line(f"a{character}b", 100) in {"a\ufffdb", "a b"}


def test_lines_end_alike_and_tabs_stay() -> None:
    assert paragraphs("a\r\nb\rc\n\td", 100) == "a\nb\nc\n\td"


def test_a_title_is_one_line() -> None:
    assert one_line("  a\r\nb\t\tc  ", 100) == "a b c"


def test_what_is_cut_off_is_said() -> None:
    assert one_line("x" * 11, 10) == "x" * 9 + "…"
    cut = paragraphs("x" * 1_000_000, 100)
    assert len(cut) == 100
    assert cut.endswith("\n[… cut here; 1,000,000 characters in all]")


@given(st.text(st.characters(codec=None), max_size=300), st.integers(60, 200))
def test_cleaning_again_changes_nothing(text: str, limit: int) -> None:
    for clean in (one_line, paragraphs):
        once = clean(text, limit)
        assert len(once) <= limit
        assert clean(once, limit) == once
