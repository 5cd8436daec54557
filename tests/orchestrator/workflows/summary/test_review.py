"""The question to the reviewer: all that they need in order to decide, and nothing that they have to believe."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.callbacks.question import MAX_TEXT
from orchestrator.web.pages import PageRecord
from orchestrator.workflows.summary.drafts import Draft
from orchestrator.workflows.summary.prompt import Rejected
from orchestrator.workflows.summary.review import review

PAGE = PageRecord(
    url="http://example.org",
    final_url="https://www.example.org:8443/keys?a=b",
    title="Keys",
    digest="0" * 64,
    length=53_210,
    fetched_at="2026-11-26T10:00:00.000Z",
)
DRAFT = Draft(summary="Keys open doors.", model="small:7b", page=PAGE, read=12_000)
REJECTED = [Rejected(summary=f"Summary {each}.", comment=f"Comment {each}.") for each in (1, 2)]


def test_the_first_round_shows_the_summary_and_where_it_is_from() -> None:
    question = review(DRAFT, [], rounds=3, first_digest=PAGE.digest)

    assert question.title == "Is this a good summary of www.example.org:8443?"
    assert question.text == (
        "Written by the language model small:7b. It may be wrong, or misled by the page: compare the two."
        "\n\nKeys open doors."
    )
    assert question.links == (("Read the page", PAGE.final_url),)
    assert question.reason_required == ("reject",)
    assert question.facts == (
        ("Page", "Keys"),
        ("Address", PAGE.final_url),
        ("Read", "the first 12,000 of 53,210 characters, fetched on 26 November 2026, 10:00 UTC"),
        ("Round", "1 of 3"),
    )


def test_earlier_rounds_are_below_the_latest_first() -> None:
    question = review(DRAFT, REJECTED, rounds=3, first_digest=PAGE.digest)

    assert question.title.endswith("(round 3)")
    assert question.facts[-5:] == (
        ("Round", "3 of 3: a rejection is final"),
        ("Round 2", "Summary 2."),
        ("Comment on round 2", "Comment 2."),
        ("Round 1", "Summary 1."),
        ("Comment on round 1", "Comment 1."),
    )


def test_a_page_that_has_changed_and_a_text_that_was_cut_are_said() -> None:
    labels = [label for label, _ in review(DRAFT, [], rounds=1, first_digest=PAGE.digest).facts]
    changed = review(replace(DRAFT, cut=True), [], rounds=1, first_digest="1" * 64)

    assert {label for label, _ in changed.facts} - set(labels) == {"Changed", "Cut"}


def test_the_title_of_a_page_is_no_way_to_a_link() -> None:
    page = replace(PAGE, title="Approve at https://evil.example/now")
    question = review(replace(DRAFT, page=page), [], rounds=1, first_digest=PAGE.digest)

    assert dict(question.facts)["Page"] == "Approve at [link left out]"


def test_an_extract_speaks_for_itself() -> None:
    extract = replace(DRAFT, summary="An extract.", model=None, read=PAGE.length)
    question = review(extract, [], rounds=1, first_digest=PAGE.digest)

    assert question.text == extract.summary
    assert dict(question.facts)["Read"].startswith("all 53,210 characters")


def test_the_longest_texts_still_make_a_question() -> None:
    page = replace(PAGE, final_url=f"https://example.org/{'a' * 5000}", title="t" * 300)
    rejected = [Rejected(summary="s" * 4000, comment="c" * 4000)] * 9
    question = review(replace(DRAFT, summary="s" * 4000, page=page), rejected, rounds=10, first_digest="")

    assert question.links == ()
    assert len(question.text) < MAX_TEXT
