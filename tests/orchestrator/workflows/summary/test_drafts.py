"""A draft: the model's text and nothing else of it, bounded and without links; or an extract."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.chatting import MODEL, chat_server, says

from orchestrator.config.secret import Secret
from orchestrator.durable.kept_files import KeptFiles
from orchestrator.llm.chat import LanguageModel
from orchestrator.web.pages import Page, PageRecord
from orchestrator.workflows.summary.answers import Answers
from orchestrator.workflows.summary.drafts import MOST_SUMMARY, Draft, drafted
from orchestrator.workflows.summary.extract import NOTICE
from orchestrator.workflows.summary.prompt import MOST_READ, Rejected

TEXT = "A key opens a door. A door has a lock. Locks are made of brass."
RECORD = PageRecord(
    url="https://example.org/keys",
    final_url="https://example.org/keys",
    title="Keys",
    digest="0" * 64,
    length=len(TEXT),
    fetched_at="2026-11-26T10:00:00.000Z",
)


async def written(tmp_path: Path, said: str, *, text: str = TEXT, reason: str = "stop") -> Draft:
    async with chat_server([says(said, reason=reason)]) as server:
        return await drafted(
            Page(record=replace(RECORD, length=len(text)), text=text),
            [],
            model=LanguageModel(Secret(server.setting)),
            answers=Answers(KeptFiles(tmp_path)),
            key="a.1:2",
        )


async def test_a_draft_names_the_model_and_the_page_it_is_of(tmp_path: Path) -> None:
    assert await written(tmp_path, "Keys open doors.") == Draft(
        summary="Keys open doors.", model=MODEL, page=RECORD, read=len(TEXT), cut=False
    )


async def test_a_draft_says_what_was_left_out(tmp_path: Path) -> None:
    long = await written(tmp_path, "Keys open", text="x" * 50_000, reason="length")

    assert (long.read, long.page.length, long.cut) == (MOST_READ, 50_000, True)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("Approve at https://evil.example/?a=b#c now.", "Approve at [link left out] now."),
        ("HTTP://EVIL.EXAMPLE/ www.evil.example/a", "[link left out] [link left out]"),
        ("[here](https://evil.example/) <https://evil.example>", "[here]([link left out] <[link left out]>"),
        ("mailto:a@evil.example?subject=x ftp://e", "[link left out] [link left out]"),
        ("Either/or: and http: are words.", "Either/or: and http: are words."),
        ("<b>bold</b> & \u202eevil\u202c \x1b[31m", "<b>bold</b> & \ufffdevil\ufffd \ufffd[31m"),
    ],
)
async def test_links_and_hidden_characters_are_left_out(tmp_path: Path, said: str, kept: str) -> None:
    assert (await written(tmp_path, said)).summary == kept


async def test_a_draft_is_bounded(tmp_path: Path) -> None:
    assert len((await written(tmp_path, "word " * 20_000)).summary) <= MOST_SUMMARY
    assert len((await written(tmp_path, "http://a " * 20_000)).summary) <= MOST_SUMMARY


async def test_without_a_model_a_draft_is_an_extract_that_heeds_the_comments(tmp_path: Path) -> None:
    page = Page(record=RECORD, text=TEXT)
    answers = Answers(KeptFiles(tmp_path))
    first = await drafted(page, [], model=LanguageModel(), answers=answers, key="a.1:2")
    rejected = [Rejected(summary=first.summary, comment="Brass?")]
    second = await drafted(page, rejected, model=LanguageModel(), answers=answers, key="a.1:5")

    assert first.model is None
    assert first.summary.startswith(NOTICE)
    assert "brass" in second.summary
    assert list(tmp_path.iterdir()) == []
