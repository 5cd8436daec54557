"""A summary without a model: sentences of the page, which heed the reviewer's words and say what they are."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.workflows.summary.extract import NOTHING, NOTICE, extract

PAGE = """Keys
A key opens a door that has a lock. Locks were made of wood in Egypt! "Is a lock without its key useless?"
Bananas are yellow. The key of a lock is cut from brass. A door without a lock opens without a key.
Old locks keep old doors. Brass does not rust; the lock of a door may. Somebody lost a key in a river."""


def lines(text: str) -> list[str]:
    notice, _, *sentences = text.split("\n")
    assert notice == NOTICE
    return sentences


def test_it_says_that_it_is_one_and_takes_whole_sentences_of_the_page_in_order() -> None:
    sentences = lines(extract(PAGE))
    places = [PAGE.index(sentence) for sentence in sentences]

    assert len(sentences) == 5
    assert places == sorted(places)
    assert "Bananas are yellow." not in sentences


def test_words_of_the_reviewer_bring_their_sentences() -> None:
    assert "Bananas are yellow." in lines(extract(PAGE, ["More about BANANAS, please"]))


def test_another_round_gives_another_extract() -> None:
    first = extract(PAGE)
    second = extract(PAGE, ["shorter"], [first])

    assert set(lines(first)) - set(lines(second))
    assert set(lines(second)) - set(lines(first))


def test_other_scripts_and_ellipses_end_sentences_too() -> None:
    assert lines(extract("鍵は扉を開ける 道具だ。扉は木で できている\uff01木は古い\uff1f")) == [
        "鍵は扉を開ける 道具だ。",
        "扉は木で できている\uff01",
    ]
    assert lines(extract("It went on\u2026 Then it ended.")) == ["It went on\u2026", "Then it ended."]


def test_a_page_without_sentences_says_so() -> None:
    assert extract("") == extract("\n\n - \n") == extract("x" * 10_000) == NOTHING


@given(st.text(max_size=300), st.text(max_size=50))
def test_any_text_gives_an_extract(text: str, wish: str) -> None:
    found = extract(text, [wish], [extract(text)])

    assert found == NOTHING or all(sentence in " ".join(text.split()) for sentence in lines(found))


def test_a_hostile_page_takes_little_time() -> None:
    before = time.process_time()

    for page in ("a. " * 300_000, ".\u201d" * 500_000, " " * 1_000_000, "word " * 200_000, "\n" * 1_000_000):
        extract(page)

    assert time.process_time() - before < 10
