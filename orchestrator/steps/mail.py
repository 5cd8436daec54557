"""Mail as a step: SMTP with TLS always, or printed to the console while developing.

A message sent twice carries the same Message-ID, so a mailbox that sees both shows one. Sending is at least once: a
crash after the server took a message and before that is recorded sends it again.
"""

from __future__ import annotations

import hashlib
import re
import smtplib
import ssl
import sys
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from typing import TYPE_CHECKING, Annotated, Final, TextIO

import anyio.to_thread
from pydantic import AfterValidator

from orchestrator.errors import StepRefused, StepUnavailable

if TYPE_CHECKING:
    from orchestrator.settings import MailAddress

_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS: Final = re.compile(
    rf"[A-Za-z0-9.!#$%&'*+/=?^_`{{|}}~-]{{1,64}}@(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*", re.ASCII
)
_SECONDS: Final = 20.0
_PERMANENT: Final = 500


def valid_address(text: str) -> str:
    """Return the e-mail address, or raise ValueError: one plain address, no display name, ASCII."""
    if _ADDRESS.fullmatch(text) is None:
        msg = "not an e-mail address"
        raise ValueError(msg)

    return text


type EmailAddress = Annotated[str, AfterValidator(valid_address)]


@dataclass(frozen=True, kw_only=True)
class Message:
    """A message to one person: plain text that can be read alone, and the same as HTML where there is one.

    `follows` is the `message_id` of an earlier message to the same person, which mailboxes show together with it.
    """

    to: str
    subject: str
    text: str
    html: str | None = None
    follows: str | None = None


class Mailer:
    """Sends messages the way the settings say."""

    def __init__(self, address: MailAddress, *, console: TextIO | None = None) -> None:
        self._address = address
        self._console = console

    async def send(self, message: Message, *, message_id: str) -> None:
        """Hand the message to the mail server, or print it. `message_id` names it: the same for the same message.

        Raises:
            StepRefused: the server will never take it; the reason is the server's.
            StepUnavailable: it may take it later.
        """
        self._require_mail()

        if self._address.kind == "console":
            lines = (f"To: {message.to}", f"Subject: {_one_line(message.subject)}", "", message.text.rstrip("\n"))
            print("--- mail ---", *lines, "------------", sep="\n", file=self._console or sys.stdout, flush=True)

            return

        mail = self._compose(message, message_id)
        await anyio.to_thread.run_sync(self._deliver, mail, abandon_on_cancel=True)

    async def check(self) -> None:
        """Return when the mail server takes our name and password.

        Raises:
            StepRefused, StepUnavailable: as for `send`.
        """
        self._require_mail()

        if self._address.kind != "console":
            await anyio.to_thread.run_sync(self._deliver, None, abandon_on_cancel=True)

    def _require_mail(self) -> None:
        if self._address.kind == "none":
            msg = "COUNTERSIGN_MAIL is not set, so no mail is sent"
            raise StepRefused(msg)

    def _compose(self, message: Message, message_id: str) -> EmailMessage:
        mail = EmailMessage(policy=SMTP)
        mail["From"] = self._address.sender
        mail["To"] = message.to
        mail["Subject"] = _one_line(message.subject)
        mail["Message-ID"] = self._name(message_id, message.to)
        mail["Auto-Submitted"] = "auto-generated"

        if message.follows is not None:
            mail["In-Reply-To"] = mail["References"] = self._name(message.follows, message.to)

        mail.set_content(message.text)

        if message.html is not None:
            mail.add_alternative(message.html, subtype="html")

        return mail

    def _name(self, message_id: str, to: str) -> str:
        digest = hashlib.sha256(f"{message_id}\0{to}".encode()).hexdigest()[:32]

        return f"<{digest}@{self._address.sender.rpartition('@')[2] or 'localhost'}>"

    def _deliver(self, mail: EmailMessage | None) -> None:
        try:
            with self._connected() as server:
                if self._address.user is not None and self._address.password is not None:
                    server.login(self._address.user, self._address.password.text())

                if mail is None:
                    server.noop()
                else:
                    server.send_message(mail)

        except smtplib.SMTPRecipientsRefused as error:
            (code, reason), *_ = error.recipients.values()
            raise _failure(code, reason) from error
        except smtplib.SMTPResponseException as error:
            raise _failure(error.smtp_code, error.smtp_error) from error
        except smtplib.SMTPNotSupportedError as error:
            msg = f"the mail server cannot do what we need: {error}"
            raise StepRefused(msg) from error
        except (smtplib.SMTPException, OSError) as error:
            msg = f"the mail server could not be reached ({type(error).__name__})"
            raise StepUnavailable(msg) from error

    def _connected(self) -> smtplib.SMTP:
        host, port = self._address.host, self._address.port
        trust = ssl.create_default_context(cafile=self._address.ca_file)

        if self._address.kind == "smtps":
            return smtplib.SMTP_SSL(host, port, timeout=_SECONDS, context=trust)

        server = smtplib.SMTP(host, port, timeout=_SECONDS)

        try:
            server.starttls(context=trust)
        except BaseException:
            server.close()
            raise

        return server


def _failure(code: int, reason: bytes | str) -> StepRefused | StepUnavailable:
    text = reason.decode(errors="replace") if isinstance(reason, bytes) else reason
    message = f"the mail server answered {code} {_one_line(text)[:200]}"

    return StepRefused(message) if code >= _PERMANENT else StepUnavailable(message)


def _one_line(text: str) -> str:
    return " ".join(text.split())
