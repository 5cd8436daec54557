"""The approval pages: a question with its form, the recorded decision, and every refusal.

They are rendered on the server, with no script and nothing loaded from elsewhere. Everything shown comes from third
parties or from workflows, so it is escaped, cleaned and cut to length. A page never says why a link is not valid.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

from starlette.responses import HTMLResponse, RedirectResponse

from orchestrator.approvals.wording import label, reason_rule
from orchestrator.callbacks.claims import PATHS
from orchestrator.text.display import one_line, paragraphs
from orchestrator.text.times import time_left, to_the_minute, utc
from receiver.http.problems import MEDIA_TYPE
from receiver.http.routing import path_below
from receiver.pages.templating import TEMPLATES, page_headers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.responses import Response
    from starlette.types import Scope

    from orchestrator.callbacks.question import Asked

MAX_COMMENT: Final = 4000

_MAX_PERSON: Final = 320
_PAST: Final = {"approve": "Approved", "reject": "Rejected"}
_KEPT_HEADERS: Final = frozenset({"allow", "connection", "retry-after"})

_APPROVAL: Final = TEMPLATES.get_template("approval.html")
_NOTICE: Final = TEMPLATES.get_template("notice.html")

#: The pages without a question: for each status a headline and a sentence or two.
_NOTICES: Final[Mapping[int, tuple[str, str]]] = {
    400: ("This could not be understood", "The form that arrived is not the form of this page. Nothing was recorded."),
    403: (
        "This came from another site",
        "A decision is accepted only from the page that the link in your mail opens. Nothing was recorded.",
    ),
    404: (
        "This link is not valid",
        "Open the link from the mail itself, or copy all of it. If that does not help, ask the person who sent it.",
    ),
    405: ("This is not possible here", "Open the link from your mail in a browser. Nothing was recorded."),
    408: ("That took too long", "Your answer did not arrive completely, so it was not recorded. Please try again."),
    410: ("This question is closed", "The time to answer is over. Nothing more can be recorded here."),
    413: ("That is too long", "Your answer is too long, so it was not recorded. Please shorten your comment."),
    415: ("This could not be understood", "The form that arrived is not the form of this page. Nothing was recorded."),
    429: ("Too many invalid links", "Please wait a minute, then open the link from your mail again."),
    431: ("This could not be understood", "The request is larger than a browser would send. Nothing was recorded."),
    500: ("Something went wrong here", "This is not your fault. Please try again in a few minutes."),
    503: (
        "Not recorded: please try again",
        "The service behind this page did not respond in time. Trying again is safe: your decision counts only once.",
    ),
}


class Notice(Exception):
    """A page without a question, in place of the requested page.

    `text` replaces the status's own sentence. `back` is the address of the question; `again` has the fields of a form
    that could not be recorded, so that one button sends it again.
    """

    def __init__(
        self,
        status: int,
        text: str | None = None,
        *,
        back: str | None = None,
        again: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status)
        self.status = status
        self.text = text
        self.back = back
        self.again = again
        self.headers = headers or {}

    def response(self, organisation: str) -> Response:
        """Return the page, with the name of this organisation."""
        title, text = _NOTICES[self.status]
        notice = {"title": title, "text": self.text or text, "back": self.back, "again": self.again or {}}

        return _page(_NOTICE.render, self.status, self.headers, organisation=organisation, notice=notice)


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

        return _page(
            _APPROVAL.render,
            status,
            {},
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


def is_page(scope: Scope) -> bool:
    """Whether people open this path in a browser, so that refusals must be pages."""
    path = path_below(scope)

    return path == PATHS["approver"] or path.startswith(f"{PATHS['approver']}/")


def refusal_as_page(scope: Scope, response: Response, *, organisation: str) -> Response:
    """Return a refusal as a page if people open its path in a browser; return every other response unchanged."""
    if not is_page(scope) or response.media_type != MEDIA_TYPE:
        return response

    status = response.status_code if response.status_code in _NOTICES else 400
    kept = {name: value for name, value in response.headers.items() if name in _KEPT_HEADERS}

    return Notice(status, headers=kept).response(organisation)


def past(decision: str) -> str:
    """Return a decision in the past tense if it is a known word, otherwise its label."""
    return _PAST.get(decision, label(decision))


def _tone(decision: str, first: str) -> str:
    if decision == first:
        return "succeeded"

    return "failed" if decision == "reject" else "running"


def _page(render: Any, status: int, headers: Mapping[str, str], **shown: object) -> Response:
    nonce = secrets.token_urlsafe(16)

    return HTMLResponse(render(nonce=nonce, **shown), status, {**page_headers(nonce), **headers})


def _moment(milliseconds: int) -> dict[str, str]:
    moment = utc(milliseconds)

    return {"machine": moment.isoformat(), "shown": to_the_minute(moment)}
