"""The mail that asks a person: plain text that can be read alone, and the same as HTML.

The HTML has no image, no script and nothing that is loaded from elsewhere. A letter is sent at once and never returned
from a step, because it holds the link, and the code if there is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchestrator.approvals.wording import reason_rule
from orchestrator.mail.message import Message
from orchestrator.text.templating import templates_in
from orchestrator.text.times import to_the_minute, utc

if TYPE_CHECKING:
    from orchestrator.callbacks.question import Question

# Read here and not on first use: a trial opens no file.
_TEMPLATE: Final = templates_in(Path(__file__).parent / "templates").get_template("question.html")


@dataclass(frozen=True, kw_only=True)
class Letter:
    """What a mail says about a question: who asks, where to answer, until when, and the code if there is one.

    `until` is in milliseconds since the epoch, `workflow` the name of the workflow that asks.
    """

    to: str
    question: Question
    link: str
    until: int
    name: str = "Countersign"
    workflow: str | None = None
    code: str | None = None
    reminder: int = 0

    @property
    def message_id(self) -> str:
        """The name of this message: the same whenever it is written again, and different for each reminder."""
        return f"{self.link} {self.reminder}"

    @property
    def asked_by(self) -> str:
        """Who wants to know, as a sentence; empty if the workflow was not told."""
        return f"{self.question.requester} asks you for this." if self.question.requester else ""

    @property
    def sent_by(self) -> str:
        """Who sent this, as a sentence."""
        asks = "" if self.workflow is None else f" The workflow {self.workflow} asks this."

        return f"Sent by {self.name}.{asks}"

    def message(self) -> Message:
        """Return the message to be sent."""
        about = f"Reminder: {self.question.title}" if self.reminder else self.question.title

        return Message(
            to=self.to,
            subject=about,
            text=self._text(),
            html=_TEMPLATE.render(
                letter=self, until=to_the_minute(utc(self.until)), reason_rule=reason_rule(self.question)
            ),
            follows=f"{self.link} 0" if self.reminder else None,
        )

    def _text(self) -> str:
        question = self.question
        facts = "\n".join(f"{label}: {value}" for label, value in question.facts)
        links = "\n".join(f"{label}: {url}" for label, url in question.links)
        opening = "A reminder: your decision is still needed." if self.reminder else "Your decision is needed."
        code = None

        if self.code is not None:
            code = f"The page asks for this code, which is only in this mail: {self.code}"

        closing = (
            f"Until {to_the_minute(utc(self.until))}. Opening the link decides nothing; a button on the page does. "
            f"The link is for {self.to} alone: please do not pass this mail on."
        )
        parts = (
            opening,
            question.title,
            self.asked_by,
            question.text,
            facts,
            links,
            f"Read it once more and decide here:\n{self.link}",
            code,
            reason_rule(question),
            closing,
            self.sent_by,
        )

        return "\n\n".join(part for part in parts if part) + "\n"
