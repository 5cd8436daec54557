"""A message to one person, as a value: what it says, not how it travels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from orchestrator.text.display import one_line, paragraphs

MAX_SUBJECT: Final = 250


@dataclass(frozen=True, kw_only=True)
class Message:
    """Plain text that can be read alone, and optionally the same as HTML.

    `follows` is the `message_id` of an earlier message to the same person. Mailboxes show the two together.

    Characters that do not print are replaced, and the subject is cut to 250 characters.
    """

    to: str
    subject: str
    text: str
    html: str | None = None
    follows: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "subject", one_line(self.subject, MAX_SUBJECT))
        object.__setattr__(self, "text", _printable(self.text))
        object.__setattr__(self, "html", None if self.html is None else _printable(self.html))


def _printable(text: str) -> str:
    return paragraphs(text, len(text))
