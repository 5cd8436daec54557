"""A message as the bytes that go over the wire, fit for a relay that knows nothing but RFC 5321 and RFC 5322.

The header lines that carry addresses and ids are written here and not by the `email` library: it decodes what looks
like an encoded word inside an address, and folds a long Message-ID as encoded text. An address appears in its header
exactly as it is in the envelope. The body is quoted-printable, so no server needs 8BITMIME; only an address with other
letters than ASCII puts bytes above 127 into the header (RFC 6532).
"""

from __future__ import annotations

import hashlib
from email.header import Header
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime

    from orchestrator.mail.message import Message

_FOLD: Final = "\r\n "

#: The longest line of quoted-printable (RFC 2045) and of a header with an encoded word (RFC 2047).
_WIDTH: Final = 76

#: A name and an address share a line if they are shorter than this together.
_SHORT: Final = 66


def compose(message: Message, *, sender: str, name: str, message_id: str, date: datetime) -> bytes:
    """Return the message with its header, lines ended by CR LF and none longer than 998 bytes.

    `sender` and the message's recipient are addresses as `mailbox` returns them, `name` is shown beside the sender's.
    The Message-ID is the same for the same `message_id`, recipient and sender's domain.
    """
    header = [
        ("From", _named(name, sender)),
        ("To", message.to),
        ("Subject", _text("Subject", message.subject)),
        ("Date", format_datetime(date)),
        ("Message-ID", _identifier(message_id, message.to, sender)),
    ]

    if message.follows is not None:
        earlier = _identifier(message.follows, message.to, sender)
        header += [("In-Reply-To", earlier), ("References", earlier)]

    header.append(("Auto-Submitted", "auto-generated"))
    lines = "".join(f"{field}: {value}".rstrip() + "\r\n" for field, value in header)

    return lines.encode() + _body(message)


def _body(message: Message) -> bytes:
    """Return the body, preceded by the header lines that say what it is."""
    body = EmailMessage(policy=SMTP.clone(max_line_length=_WIDTH))
    body.set_content(message.text, cte="quoted-printable")

    if message.html is not None:
        body.add_alternative(message.html, subtype="html", cte="quoted-printable")

    return body.as_bytes()


def _named(name: str, address: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    phrase = f'"{escaped}"' if _is_plain(name) else _text("From", name)
    short = _is_plain(name) and len(phrase) + len(address) < _SHORT

    return f"{phrase}{' ' if short else _FOLD}<{address}>"


def _text(field: str, text: str) -> str:
    """Return a header's text, as encoded words if it is not ASCII or a reader could decode something in it."""
    if _is_plain(text):
        return text

    return Header(text, "utf-8", maxlinelen=_WIDTH, header_name=field).encode(linesep="\r\n")


def _is_plain(text: str) -> bool:
    return text.isascii() and "=?" not in text


def _identifier(message_id: str, to: str, sender: str) -> str:
    digest = hashlib.sha256(f"{message_id}\0{to}".encode()).hexdigest()[:32]

    return f"<{digest}@{sender.rpartition('@')[2]}>"
