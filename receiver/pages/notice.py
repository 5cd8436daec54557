"""The pages of an approval link without a question: why nothing is shown, or why nothing was recorded.

They never say why a link is not valid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from receiver.pages.templating import TEMPLATES, page

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.responses import Response


#: The pages without a question: for each status a headline and a sentence or two.
NOTICES: Final[Mapping[int, tuple[str, str]]] = {
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
        title, text = NOTICES[self.status]
        notice = {"title": title, "text": self.text or text, "back": self.back, "again": self.again or {}}

        return page(
            TEMPLATES.get_template("notice.html").render,
            self.status,
            self.headers,
            organisation=organisation,
            notice=notice,
        )
