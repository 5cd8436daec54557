"""The approval pages: a question with its form, the recorded decision, and what else became of a question.

They are rendered on the server, with no script and nothing loaded from elsewhere. Everything shown comes from third
parties or from workflows, so it is escaped, cleaned and cut to length. A page never says why a link is not valid.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

from starlette.responses import RedirectResponse

from orchestrator.approvals.wording import headline, label, past, reason_rule, told
from orchestrator.runs.root_ids import name_of_root
from orchestrator.text.display import one_line, paragraphs
from orchestrator.text.times import time_left, to_the_minute, to_the_second, utc
from receiver.pages.rich_text import REL
from receiver.pages.templating import TEMPLATES, page, page_headers

if TYPE_CHECKING:
    from starlette.responses import Response

    from orchestrator.approvals.others import Standing
    from orchestrator.callbacks.question import Asked

MAX_COMMENT: Final = 4000

_MAX_PERSON: Final = 320

#: Buttons stay in reach on a phone if they fit into one row: so many characters, with so many for what is around each.
_NEAR: Final = 36
_AROUND: Final = 4


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
class Closed:
    """How a question ended without a decision: `why` is a sentence or two; `at` is in milliseconds, None if unknown."""

    title: str
    why: str
    at: int | None = None


@dataclass(frozen=True, kw_only=True)
class ApprovalView:
    """A question by `organisation` as one person sees it; the form posts to `path`. Times are in ms since the epoch.

    `refused` is the decision that could not be recorded because another one is recorded. `fault` says what is wrong
    with the submitted form, which is shown again as it was filled in. A code that was wrong is not shown again.
    `standing` says how many of those who must agree have answered.
    """

    organisation: str
    asked: Asked
    person: str
    path: str
    now: int
    standing: Standing | None = None
    recorded: Recorded | None = None
    refused: str | None = None
    chosen: str | None = None
    comment: str = ""
    code: str = ""
    fault: Fault | None = None
    closed: Closed | None = None

    def response(self, status: int = 200) -> Response:
        """Return the page."""
        question = self.asked.question

        return page(
            TEMPLATES.get_template("approval.html").render,
            status,
            organisation=self.organisation,
            question=question,
            view=self,
            person=one_line(self.person, _MAX_PERSON),
            workflow=name_of_root(self.asked.promise_id),
            links=[(name, url, urlsplit(url).hostname) for name, url in question.links],
            note=self._note(),
            until=_moment(self.asked.until),
            left=time_left((self.asked.until - self.now) / 1000),
            decisions=[(name, label(name)) for name in question.decisions],
            outcome=self._outcome(),
            closed=self._closed(),
            refused=None if self.refused is None else label(self.refused),
            most=MAX_COMMENT,
            reason_rule=reason_rule(question),
            faulty=None if self.fault is None else self.fault.field,
            rel=REL,
            near=sum(len(name) + _AROUND for name in question.decisions) <= _NEAR,
        )

    def _note(self) -> str:
        """Return the sentences on the other people who are asked, an empty text if nobody else is."""
        inquiry = self.asked.inquiry
        others = len(inquiry.people) - 1

        if others:
            were = "1 other person was" if others == 1 else f"{others} other people were"

            return f"{were} asked too. Only the first decision counts."

        if inquiry.need == "any":
            return ""

        so_far = "Other people are asked too."

        if self.standing is not None:
            so_far = f"{self.standing.answered} of {self.standing.asked} have answered."

        return f"{so_far} This goes ahead only if everyone chooses “{label(self.asked.question.decisions[0])}”."

    def _outcome(self) -> dict[str, Any] | None:
        """Return what the page shows of the recorded decision."""
        recorded = self.recorded

        if recorded is None:
            return None

        own = recorded.by == self.person and recorded.reason is None
        by = one_line(recorded.by, _MAX_PERSON)

        return {
            "title": past(recorded.decision) if self.refused else headline(recorded.decision),
            "tone": _tone(recorded.decision, self.asked.question.decisions[0]),
            "told": told(recorded.decision, "You" if own else by if recorded.reason is None else f"The operator {by}"),
            "own": own,
            "by_hand": recorded.reason is not None,
            "reason": paragraphs(recorded.reason or "", MAX_COMMENT),
            "by": by,
            "at": _moment(recorded.at),
            "said": paragraphs(recorded.comment, MAX_COMMENT),
            "next": self._next(recorded.decision),
        }

    def _next(self, decision: str) -> str:
        """Return what happens after this decision, as far as the question says."""
        goes_on = f"The workflow {name_of_root(self.asked.promise_id).workflow} goes on with this decision."
        agreed = decision == self.asked.question.decisions[0]
        waiting = self.standing is not None and self.standing.against is None
        missing = self.standing.asked - self.standing.answered if self.standing is not None and waiting else 0

        if agreed and missing > 0:
            goes_on = "It goes ahead when everyone has agreed."

        return f"{goes_on} Nothing more is needed from you, so you can close this page."

    def _closed(self) -> dict[str, Any] | None:
        """Return what the page shows of a question that was closed without this person's decision."""
        closed = self.closed

        if closed is None:
            return None

        against = None if self.standing is None else self.standing.against
        why = closed.why

        if against is not None:
            by_hand = against.outcome.by == "operator"
            who = "An operator" if by_hand else one_line(against.outcome.subject or "Somebody", _MAX_PERSON)
            why = f"{told(against.outcome.kind, who)} {why}"

        return {"title": closed.title, "why": why, "at": None if closed.at is None else _moment(closed.at)}


def redirect(path: str) -> Response:
    """Return the redirect to the page after a post, so that a reload does not post again."""
    return RedirectResponse(path, status_code=303, headers=page_headers(secrets.token_urlsafe(16)))


def _tone(decision: str, first: str) -> str:
    if decision == first:
        return "succeeded"

    return "failed" if decision == "reject" else "running"


def _moment(milliseconds: int) -> dict[str, str]:
    moment = utc(milliseconds)

    return {"machine": moment.isoformat(), "shown": to_the_minute(moment), "exact": f"{to_the_second(moment)} UTC"}
