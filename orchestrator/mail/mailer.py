"""Mail as a step: by SMTP, always with TLS, or printed to the console while developing.

A message sent twice carries the same Message-ID, so a mailbox that sees both shows one. Sending is at least once: a
crash after the server has accepted a message and before that is recorded sends it again.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final, TextIO

import anyio.to_thread
from pydantic import AfterValidator, WithJsonSchema

from orchestrator.counts import Counts
from orchestrator.errors import StepRefused
from orchestrator.mail import smtp
from orchestrator.mail.mime import compose
from orchestrator.text.display import one_line
from orchestrator.text.mailbox import mailbox

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from orchestrator.config.settings import MailAddress
    from orchestrator.mail.message import Message

MAX_NAME: Final = 100

#: An input's field for one e-mail address, in the form that `mailbox` returns.
type EmailAddress = Annotated[str, AfterValidator(mailbox), WithJsonSchema({"type": "string", "format": "email"})]


async def _in_thread(address: MailAddress, envelope: smtp.Envelope) -> None:
    await anyio.to_thread.run_sync(smtp.deliver, address, envelope, abandon_on_cancel=True)


class Mailer:
    """Sends messages the way the settings say.

    `name` is the organisation that asks, shown as the sender's. `clock` dates the messages. `deliver` hands one over,
    and raises what `send` raises. `counts` counts them.
    """

    def __init__(  # noqa: PLR0913 - all but the first are seams with a default
        self,
        address: MailAddress,
        *,
        name: str = "Countersign",
        console: TextIO | None = None,
        clock: Callable[[], float] = time.time,
        deliver: Callable[[MailAddress, smtp.Envelope], Awaitable[None]] = _in_thread,
        counts: Counts | None = None,
    ) -> None:
        self.name: Final = one_line(name, MAX_NAME)
        self._address = address
        self._console = console
        self._clock = clock
        self._deliver = deliver
        self._counts = counts if counts is not None else Counts()

    async def send(self, message: Message, *, message_id: str) -> None:
        """Hand the message to the mail server, or print it. Give the same message the same `message_id` every time.

        Raises:
            StepRefused: the server will never accept it, with the server's reason; or the recipient is not an address.
            StepUnavailable: the server may accept it later.
        """
        with self._counts.result("mails"):
            await self._send(message, message_id)

    async def _send(self, message: Message, message_id: str) -> None:
        self._require_mail()
        message = _addressed(message)

        if self._address.kind == "console":
            self._print(message)

            return

        sender = self._address.sender
        date = datetime.fromtimestamp(self._clock(), UTC)
        content = compose(message, sender=sender, name=self.name, message_id=message_id, date=date)
        envelope = smtp.Envelope(sender=sender, recipient=message.to, content=content)
        await self._deliver(self._address, envelope)

    def _print(self, message: Message) -> None:
        """Print the message whole, on a console of any encoding."""
        console = self._console or sys.stdout
        lines = (f"To: {message.to}", f"Subject: {message.subject}", "", message.text.rstrip("\n"))
        text = "\n".join(["--- mail ---", *lines, "------------"])
        encoding = console.encoding or "utf-8"
        print(text.encode(encoding, "backslashreplace").decode(encoding), file=console, flush=True)

    async def check(self) -> None:
        """Return if the mail server accepts our user and password.

        Raises:
            StepRefused, StepUnavailable: as for `send`.
        """
        self._require_mail()

        if self._address.kind != "console":
            await anyio.to_thread.run_sync(smtp.check, self._address, abandon_on_cancel=True)

    def _require_mail(self) -> None:
        if self._address.kind == "none":
            raise StepRefused("COUNTERSIGN_MAIL is not set, so no mail is sent")


def _addressed(message: Message) -> Message:
    """Return the message with its recipient as `mailbox` spells it: another spelling could mean another mailbox."""
    try:
        return replace(message, to=mailbox(message.to))
    except ValueError as error:
        raise StepRefused(f"no mail is sent: {error}") from None
