"""Handing one message to an SMTP server: always with TLS, in an envelope of our own, and with errors of our own.

This is the only file that imports smtplib. It uses only smtplib's connections and replies, because its `sendmail` reads
addresses out of texts and its `login` reads passwords as ASCII. A server's reply may repeat what we sent, so it is
shown in one line, cut, and without addresses and credentials. Of a refused sign-in only the codes are shown.

Everything here blocks.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hmac
import io
import re
import smtplib
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from orchestrator.errors import StepRefused, StepUnavailable
from orchestrator.mail.bounded_replies import Replies
from orchestrator.text.redaction import without_echoes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.config.settings import MailAddress

#: Seconds to wait for a silent server, and for all of its replies together.
_SECONDS: Final = 20.0
_SECONDS_IN_ALL: Final = 120.0

_PERMANENT: Final = 500
_CHALLENGE: Final = 334
_SIGNED_IN: Final = 235

_READ: Final = 2000
_SHOWN: Final = 200
_ADDRESS: Final = re.compile(r"[^\s<>\"'(),;:@]{1,128}@[^\s<>\"'(),;:@]{1,255}")
_ENHANCED: Final = re.compile(rb"[245]\.\d{1,3}\.\d{1,3}(?!\S)")


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """Who sends to whom, both as `mailbox` returns addresses, and the message's bytes."""

    sender: str
    recipient: str
    content: bytes

    @property
    def international(self) -> bool:
        """Whether only a server with SMTPUTF8 can accept it."""
        return not (self.sender + self.recipient).isascii()


def deliver(server: MailAddress, envelope: Envelope) -> None:
    """Return once the server has accepted the message and with it the duty to deliver it.

    Raises:
        StepRefused: the server will never accept it.
        StepUnavailable: the server may accept it later. It may also have accepted it now, and its reply was lost.
    """
    failure = _attempt(server, envelope)

    # Raised here and not where it was caught, so that the library's error, which holds the server's own words, does not
    # become the context of ours.
    if failure is not None:
        raise failure


def check(server: MailAddress) -> None:
    """Return if the server accepts our user and password, and addresses like the sender's. Sends nothing.

    Raises:
        StepRefused, StepUnavailable: as for `deliver`.
    """
    failure = _attempt(server, None)

    if failure is not None:
        raise failure


def _attempt(server: MailAddress, envelope: Envelope | None) -> StepRefused | StepUnavailable | None:
    try:
        with _session(server) as session:
            if envelope is not None:
                _hand_over(session, envelope)
            elif not server.sender.isascii():
                _require_utf8(session)

    except (StepRefused, StepUnavailable) as error:
        return error
    except _UnexpectedReplyError as error:
        return _failure(error.code, error.reply, _confidential(server, envelope))
    except smtplib.SMTPResponseException as error:
        reply = error.smtp_error if isinstance(error.smtp_error, bytes) else error.smtp_error.encode()

        return _failure(error.smtp_code, reply, _confidential(server, envelope))
    except (smtplib.SMTPException, OSError) as error:
        return StepUnavailable(f"the mail server could not be reached ({type(error).__name__})")

    return None


class _UnexpectedReplyError(Exception):
    """The server's reply has another code than the one that was needed."""

    def __init__(self, code: int, reply: bytes) -> None:
        super().__init__(code)
        self.code = code
        self.reply = reply


class _Bounded(smtplib.SMTP):
    """A session with an end. The library limits each read, but not the lines of a reply or the reads of a line."""

    _end = 0.0

    def connect(self, *arguments: Any, **named: Any) -> tuple[int, bytes]:
        """Connect, and return the server's greeting."""
        self._end = time.monotonic() + _SECONDS_IN_ALL

        return super().connect(*arguments, **named)

    def getreply(self) -> tuple[int, bytes]:
        """Return the server's next reply."""
        if self.file is None and self.sock is not None:
            self.file = io.BufferedReader(Replies(self.sock, self._end, silence=_SECONDS))

        return super().getreply()


class _BoundedOverTLS(_Bounded, smtplib.SMTP_SSL):
    """The same with TLS from the start."""


@contextlib.contextmanager
def _session(server: MailAddress) -> Iterator[smtplib.SMTP]:
    """Connect over TLS, and sign in if there is a user. The session is closed politely whatever happens inside."""
    trust = _trust(server)

    if server.kind == "smtps":
        session: smtplib.SMTP = _BoundedOverTLS(
            server.host, server.port, local_hostname=server.hello, timeout=_SECONDS, context=trust
        )
    else:
        session = _Bounded(server.host, server.port, local_hostname=server.hello, timeout=_SECONDS)

    try:
        _greet(session)

        if server.kind == "smtp":
            _start_tls(session, trust)

        if server.user is not None and server.password is not None:
            _sign_in(session, server.user, server.password.text())

        yield session
    finally:
        # By now it is known whether the server has our message, so its reply to this does not matter.
        with contextlib.suppress(smtplib.SMTPException, OSError):
            session.quit()

        session.close()


def _trust(server: MailAddress) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=server.ca_file)
    except OSError:
        # The library's text may hold the path.
        raise StepUnavailable("the certificates that SSL_CERT_FILE names cannot be read") from None


def _greet(session: smtplib.SMTP) -> None:
    _expect(session.ehlo(), 250)


def _start_tls(session: smtplib.SMTP, trust: ssl.SSLContext) -> None:
    if not session.has_extn("starttls"):
        raise StepRefused("the mail server offers no STARTTLS, and nothing is sent without encryption")

    session.starttls(context=trust)
    _greet(session)


def _sign_in(session: smtplib.SMTP, user: str, password: str) -> None:
    """Sign in, user and password in UTF-8 (RFC 4616)."""
    offered = session.esmtp_features.get("auth", "").upper().split()

    if "PLAIN" in offered:
        plain = _base64(f"\0{user}\0{password}")
        code, reply = session.docmd("AUTH", f"PLAIN {plain}")
    elif "LOGIN" in offered:
        code, reply = session.docmd("AUTH", "LOGIN")

        for answer in (user, password):
            if code == _CHALLENGE:
                code, reply = session.docmd(_base64(answer))

    elif "CRAM-MD5" in offered:
        code, reply = session.docmd("AUTH", "CRAM-MD5")

        if code == _CHALLENGE:
            code, reply = session.docmd(_base64(f"{user} {_keyed_digest(password, reply)}"))

    else:
        raise StepRefused("the mail server offers no supported sign-in by user and password (PLAIN, LOGIN, CRAM-MD5)")

    if code == _SIGNED_IN:
        return

    # The reply may repeat the password, so only its codes are shown.
    codes = " ".join([str(code), *(found[0].decode() for found in [_ENHANCED.match(reply)] if found)])
    message = f"the mail server did not accept the user and password of COUNTERSIGN_MAIL (it answered {codes})"

    raise StepRefused(message) if code >= _PERMANENT else StepUnavailable(message)


def _keyed_digest(password: str, challenge: bytes) -> str:
    try:
        text = base64.b64decode(challenge)
    except binascii.Error:
        raise StepUnavailable("the mail server sent a challenge that cannot be read") from None

    return hmac.new(password.encode(), text, "md5").hexdigest()


def _hand_over(session: smtplib.SMTP, envelope: Envelope) -> None:
    options = [f"SIZE={len(envelope.content)}"] if session.has_extn("size") else []

    if envelope.international:
        _require_utf8(session)
        session.command_encoding = "utf-8"
        options += ["BODY=8BITMIME"] if session.has_extn("8bitmime") else []
        options.append("SMTPUTF8")

    _expect(session.docmd("MAIL", " ".join([f"FROM:<{envelope.sender}>", *options])), 250)
    _expect(session.docmd("RCPT", f"TO:<{envelope.recipient}>"), 250, 251)
    _expect(session.data(envelope.content), 250)


def _require_utf8(session: smtplib.SMTP) -> None:
    if not session.has_extn("smtputf8"):
        raise StepRefused(
            "the mail server accepts no addresses with letters other than ASCII before the @ (it offers no SMTPUTF8)"
        )


def _expect(reply: tuple[int, bytes], *codes: int) -> None:
    if reply[0] not in codes:
        raise _UnexpectedReplyError(*reply)


def _confidential(server: MailAddress, envelope: Envelope | None) -> list[str]:
    """Return what a server might repeat and must not be shown, in the forms in which it was sent."""
    addresses = [server.sender] if envelope is None else [server.sender, envelope.recipient]

    if server.user is None or server.password is None:
        return addresses

    password = server.password.text()
    sent = [server.user, password, f"\0{server.user}\0{password}"]

    return [*addresses, *sent[:2], *map(_base64, sent)]


def _failure(code: int, reply: bytes, hidden: list[str]) -> StepRefused | StepUnavailable:
    text = without_echoes(reply[:_READ].decode(errors="replace"), hidden)
    shown = _ADDRESS.sub("[...]", text)[:_SHOWN]
    message = f"the mail server answered {code} {shown}".rstrip()

    return StepRefused(message) if code >= _PERMANENT else StepUnavailable(message)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
