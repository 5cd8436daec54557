"""The mail of a trial: what would have gone to the mail server, read back from the very bytes."""

from __future__ import annotations

import email
import email.policy
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from orchestrator.config.mail_address import MailAddress
    from orchestrator.mail.smtp import Envelope

_LINK: Final = re.compile(r"https?://[^\s<>\"]+")


@dataclass(frozen=True, kw_only=True)
class Mail:
    """A mail as its recipient gets it; `links` are the addresses in its text, in order."""

    to: str
    subject: str
    text: str
    html: str | None
    links: tuple[str, ...]


class Postbox:
    """Takes every mail, in place of a mail server."""

    def __init__(self) -> None:
        self.mails: list[Mail] = []

    async def deliver(self, _: MailAddress, envelope: Envelope) -> None:
        """Keep a mail."""
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        plain, rich = message.get_body(("plain",)), message.get_body(("html",))
        text = "" if plain is None else plain.get_content().replace("\r\n", "\n")
        self.mails.append(
            Mail(
                to=envelope.recipient,
                subject=str(message["Subject"]),
                text=text,
                html=None if rich is None else rich.get_content(),
                links=tuple(link.rstrip(".,;:!?)") for link in _LINK.findall(text)),
            )
        )
