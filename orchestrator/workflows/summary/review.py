"""The question to the reviewer: the summary, where it comes from, and what was said in the earlier rounds."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from orchestrator.callbacks.question import Question
from orchestrator.text.times import to_the_minute
from orchestrator.workflows.summary.drafts import without_links

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.workflows.summary.drafts import Draft
    from orchestrator.workflows.summary.prompt import Rejected

#: A longer address is shown, but is no link.
_LONGEST_LINK: Final = 2000

_BY_MODEL: Final = "Written by the language model {model}. It may be wrong, or misled by the page: compare the two."
_CHANGED: Final = "The page has changed since it was first read. This summary is of the newer text."
_CUT: Final = "The model was stopped at its limit, so the summary may end too early."


def review(draft: Draft, rejected: Sequence[Rejected], *, rounds: int, first_digest: str) -> Question:
    """Return the question whether this draft is good. `first_digest` is the digest of the page as it was first read."""
    number = len(rejected) + 1
    page = draft.page
    # An extract says itself what it is.
    text = draft.summary if draft.model is None else f"{_BY_MODEL.format(model=draft.model)}\n\n{draft.summary}"
    facts = [
        ("Page", without_links(page.title) or "(without a title)"),
        ("Address", page.final_url),
        ("Read", f"{_amount(draft)}, fetched on {to_the_minute(datetime.fromisoformat(page.fetched_at))}"),
        ("Round", f"{number} of {rounds}" + ("" if number < rounds else ": a rejection is final")),
    ]
    facts += [("Changed", _CHANGED)] if page.digest != first_digest else []
    facts += [("Cut", _CUT)] if draft.cut else []

    for earlier, one in reversed(list(enumerate(rejected, start=1))):
        facts += [(f"Round {earlier}", one.summary), (f"Comment on round {earlier}", one.comment)]

    is_link = len(page.final_url) <= _LONGEST_LINK

    return Question(
        title=f"Is this a good summary of {urlsplit(page.final_url).netloc}?"
        + (f" (round {number})" if rejected else ""),
        text=text,
        facts=facts,
        links=[("Read the page", page.final_url)] if is_link else [],
        reason_required=["reject"],
    )


def _amount(draft: Draft) -> str:
    if draft.read < draft.page.length:
        return f"the first {draft.read:,} of {draft.page.length:,} characters"

    return f"all {draft.page.length:,} characters"
