"""A workflow with a person in the loop: it summarises a web page until the reviewer approves, or has had enough."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from orchestrator import (
    Context,
    StepRefused,
    StepUnavailable,
    WorkflowCancelled,
    WorkflowFailed,
    ask_people,
    dependency,
    step,
    workflow,
)
from orchestrator.durable.kept_files import KeptFiles
from orchestrator.llm.chat import LanguageModel
from orchestrator.mail.mailer import EmailAddress  # noqa: TC001 - pydantic looks it up at run time
from orchestrator.web.pages import PageRecord, Pages
from orchestrator.workflows.summary.answers import Answers
from orchestrator.workflows.summary.drafts import Draft, drafted
from orchestrator.workflows.summary.prompt import Rejected
from orchestrator.workflows.summary.review import review

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_DEADLINE: Final = timedelta(days=7)
_PLACE: Final = Path(".countersign/answers")
_STATUS: Final = {"approve": "approved", "expired": "expired"}


class SummaryRequest(BaseModel):
    """The page to summarise, who reviews the summary, and how many summaries they may reject."""

    model_config = ConfigDict(extra="forbid", strict=True)

    url: Annotated[str, Field(min_length=1, max_length=2048)]
    reviewer: EmailAddress
    rounds: Annotated[int, Field(ge=1, le=10)] = 3


@dependency
async def answers() -> AsyncIterator[Answers]:
    """Give steps the answers that this worker has kept."""
    yield Answers(KeptFiles(_PLACE))


@workflow()
async def summarize_website(ctx: Context, request: SummaryRequest) -> dict[str, Any]:
    """Summarise a web page, and let a person approve the summary or say what to change."""
    rejected: list[Rejected] = []

    try:
        first = page = await ctx.run(fetch_page, request.url)

        while True:
            draft = await ctx.run(write_draft, page, rejected)
            page = draft.page
            question = review(draft, rejected, rounds=request.rounds, first_digest=first.digest)
            number = len(rejected) + 1
            asked = await ask_people(ctx, f"review-{number}", question, [request.reviewer], deadline=_DEADLINE)

            if asked.decision == "cancelled":
                raise WorkflowCancelled("the summary was neither approved nor rejected")

            if asked.decision != "reject" or number == request.rounds:
                status = _STATUS.get(asked.decision, "rejected")

                return {"status": status, "summary": draft.summary, "rounds": number}

            rejected.append(Rejected(summary=draft.summary, comment=asked.answers[0].comment))

    except (StepRefused, StepUnavailable) as error:
        raise WorkflowFailed(str(error)) from error


@step
async def fetch_page(ctx: Context, url: str) -> PageRecord:
    """Fetch the page and keep its text in a file; only its digest goes on record."""
    page = await ctx.get_dependency(Pages).fetch(url)

    return page.record


@step
async def write_draft(ctx: Context, page: PageRecord, rejected: list[Rejected]) -> Draft:
    """Write a summary of the page, as it is now if its text is not kept any more."""
    return await drafted(
        await ctx.get_dependency(Pages).again(page),
        rejected,
        model=ctx.get_dependency(LanguageModel),
        answers=ctx.get_dependency(Answers),
        key=ctx.info.id,
    )
