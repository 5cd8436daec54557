"""Drafts: a summary as one round has it, with what its reviewer must know about how it came about."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import anyio.to_thread

from orchestrator.text.display import paragraphs
from orchestrator.web.pages import PageRecord  # noqa: TC001 - the engine looks it up to read a stored draft
from orchestrator.workflows.summary.extract import extract
from orchestrator.workflows.summary.prompt import MOST_READ, conversation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.llm.chat import LanguageModel
    from orchestrator.web.pages import Page
    from orchestrator.workflows.summary.answers import Answers
    from orchestrator.workflows.summary.prompt import Rejected

MOST_SUMMARY: Final = 4000

#: What a mail program or a page may make a link of. A page could have it put there for the reviewer to follow.
_LINK: Final = re.compile(r"(?:\b[a-z][a-z0-9+.-]{1,20}://|\bmailto:|\bwww\.)[^\s<>]+", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A summary, bounded and without links.

    `model` is the name of the model that wrote it, None for an extract; `page` the page as it was then; `read` how many
    characters of it were read. `cut` says that the model was stopped at its limit.
    """

    summary: str
    model: str | None
    page: PageRecord
    read: int
    cut: bool = False


async def drafted(
    page: Page, rejected: Sequence[Rejected], *, model: LanguageModel, answers: Answers, key: str
) -> Draft:
    """Return a draft of the page that heeds the comments on the rejected ones.

    Raises:
        StepRefused, StepUnavailable: the model gave no answer; see `LanguageModel.ask`.
    """
    if model.name is None:
        comments, summaries = [one.comment for one in rejected], [one.summary for one in rejected]
        text = await anyio.to_thread.run_sync(extract, page.text, comments, summaries)

        return Draft(summary=without_links(text), model=None, page=page.record, read=page.record.length)

    messages = conversation(page.record.title, page.text, rejected)
    reply = await answers.ask(model, messages, key=key)

    return Draft(
        summary=without_links(reply.text),
        model=model.name,
        page=page.record,
        read=min(page.record.length, MOST_READ),
        cut=reply.cut,
    )


def without_links(text: str) -> str:
    """Return a stranger's text, bounded, without characters that hide others, and without what is read as a link."""
    return paragraphs(_LINK.sub("[link left out]", text), MOST_SUMMARY)
