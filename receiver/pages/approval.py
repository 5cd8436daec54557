"""The approval pages: a question with its form, the recorded decision, and every refusal.

They are rendered on the server, with no script and nothing loaded from elsewhere. Everything shown comes from third
parties or from workflows, so it is escaped, cleaned and cut to length. A page never says why a link is not valid.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

from starlette.responses import RedirectResponse

from orchestrator.approvals.wording import label, reason_rule
from orchestrator.text.display import one_line, paragraphs
from orchestrator.text.times import time_left, to_the_minute, utc
from receiver.pages.templating import TEMPLATES, page, page_headers

if TYPE_CHECKING:
    from starlette.responses import Response

    from orchestrator.callbacks.question import Asked

MAX_COMMENT: Final = 4000

_MAX_PERSON: Final = 320
_PAST: Final = {"approve": "Approved", "reject": "Rejected"}

_APPROVAL: Final = TEMPLATES.get_template("approval.html")


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A recorded decision; `at` is in milliseconds since the epoch.

    `reason` is why an operator decided by hand, and `by` the name of their key then. It is None for everybody else.
    """

    decision: str
    by: str
    at: int
    comment: str
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is wrong with a submitted form, and in which of its fields."""

    field: Literal["code", "comment"]
    text: str


@dataclass(frozen=True, kw_only=True)
class ApprovalView:
    """A question by `organisation` as one person sees it; the form posts to `path`. Times are in ms since the epoch.

    `refused` is the decision that could not be recorded because another one is recorded. `fault` says what is wrong
    with the submitted form, which is shown again as it was filled in. A code that was wrong is not shown again.
    """

    organisation: str
    asked: Asked
    person: str
    path: str
    now: int
    recorded: Recorded | None = None
    refused: str | None = None
    chosen: str | None = None
    comment: str = ""
    code: str = ""
    fault: Fault | None = None

    def response(self, status: int = 200) -> Response:
        """Return the page."""
        question = self.asked.question
        recorded = self.recorded

        return page(
            _APPROVAL.render,
            status,
            organisation=self.organisation,
            question=question,
            view=self,
            person=one_line(self.person, _MAX_PERSON),
            links=[(name, url, urlsplit(url).hostname) for name, url in question.links],
            others=len(self.asked.inquiry.people) - 1,
            until=_moment(self.asked.until),
            left=time_left((self.asked.until - self.now) / 1000),
            decisions=[(name, label(name)) for name in question.decisions],
            outcome=None if recorded is None else past(recorded.decision),
            tone="" if recorded is None else _tone(recorded.decision, question.decisions[0]),
            by="" if recorded is None else one_line(recorded.by, _MAX_PERSON),
            at=None if recorded is None else _moment(recorded.at),
            said="" if recorded is None else paragraphs(recorded.comment, MAX_COMMENT),
            by_hand=recorded is not None and recorded.reason is not None,
            reason="" if recorded is None else paragraphs(recorded.reason or "", MAX_COMMENT),
            refused=None if self.refused is None else label(self.refused),
            most=MAX_COMMENT,
            reason_rule=reason_rule(question),
            faulty=None if self.fault is None else self.fault.field,
        )


def redirect(path: str) -> Response:
    """Return the redirect to the page after a post, so that a reload does not post again."""
    return RedirectResponse(path, status_code=303, headers=page_headers(secrets.token_urlsafe(16)))


def past(decision: str) -> str:
    """Return a decision in the past tense if it is a known word, otherwise its label."""
    return _PAST.get(decision, label(decision))


def _tone(decision: str, first: str) -> str:
    if decision == first:
        return "succeeded"

    return "failed" if decision == "reject" else "running"


def _moment(milliseconds: int) -> dict[str, str]:
    moment = utc(milliseconds)

    return {"machine": moment.isoformat(), "shown": to_the_minute(moment)}
