"""A strict relay: an SMTP server that refuses everything that any strict relay in use would refuse, and says why.

It reads bytes and uses no mail library, so that no library corrects a sender's mistake on the way.

Long because it holds the rules of several relays as one conversation.
"""

from __future__ import annotations

import base64
import contextlib
import hmac
import re
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from pathlib import Path

USER, PASSWORD = "relay-user", "a password for the strict relay"

ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\U0010ffff-]+"
DOMAIN = r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
ADDRESS = rf"{ATOM}(?:\.{ATOM})*@{DOMAIN}"
FQDN = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z][A-Za-z0-9-]*[A-Za-z0-9]")
PATH = re.compile(rf"(?:FROM|TO):<({ADDRESS})>((?: [A-Z0-9-]+(?:=[!-<>-~]+)?)*)", re.IGNORECASE)
IDENTIFIER = re.compile(rf"<[A-Za-z0-9.]+@{DOMAIN}>")
PHRASE = r"(?:\"(?:[^\"\\]|\\[\"\\])*\"|=\?utf-8\?[bq]\?[!->@-~]+\?=(?: =\?utf-8\?[bq]\?[!->@-~]+\?=)*)"


@dataclass
class Received:
    """A message as it arrived: the envelope, and the bytes after dot-unstuffing."""

    sender: str
    recipient: str
    options: set[str]
    raw: bytes

    @property
    def message(self) -> EmailMessage:
        parsed = message_from_bytes(self.raw, policy=policy.default)
        assert isinstance(parsed, EmailMessage)
        return parsed

    def header(self, name: str) -> str:
        return dict(headers(self.raw))[name.lower()]

    def text(self, kind: str = "plain") -> str:
        found = self.message.get_body((kind,))
        assert found is not None
        text: str = found.get_content()
        return text.replace("\r\n", "\n")


@dataclass
class Relay:
    """What the relay offers, what it answers instead of the usual (by verb; END is the end of data), and what it got.

    `endless` holds, by verb, what it says again and again without end, with a pause of so many seconds.
    `refusals` are its reasons against what a sender did, each worth a look.
    """

    extensions: tuple[str, ...] = ("8BITMIME", "SMTPUTF8", "SIZE 1000000")
    mechanisms: str = "PLAIN"
    user: str = USER
    password: str = PASSWORD
    answers: dict[str, str] = field(default_factory=dict)
    endless: dict[str, tuple[str, float]] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def running(self, certificate: Path, *, implicit: bool = False) -> Iterator[int]:
        """Serve on a port of localhost, and yield the port."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        relay = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with (
                    contextlib.suppress(OSError),
                    contextlib.closing(Dialogue(relay, self.request, context, implicit=implicit)) as dialogue,
                ):
                    dialogue.run()

        with socketserver.ThreadingTCPServer(("localhost", 0), Handler) as server:
            server.daemon_threads = True
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()

            try:
                yield server.server_address[1]
            finally:
                server.shutdown()
                thread.join()


class Dialogue:
    """One connection."""

    def __init__(self, relay: Relay, connection: ssl.SSLSocket, context: ssl.SSLContext, *, implicit: bool) -> None:
        self.relay = relay
        self.context = context
        self.tls = implicit
        self.socket = context.wrap_socket(connection, server_side=True) if implicit else connection
        self.file = self.socket.makefile("rb")
        self.greeted = self.signed_in = False
        self.sender: str | None = None
        self.recipient: str | None = None
        self.options: set[str] = set()

    def close(self) -> None:
        self.file.close()
        self.socket.close()

    def say(self, reply: str) -> None:
        self.socket.sendall(f"{reply}\r\n".encode())

    def say_without_end(self, text: str, pause: float) -> None:
        while True:
            self.socket.sendall(text.encode())
            time.sleep(pause)

    def refuse(self, reply: str) -> None:
        self.relay.refusals.append(reply)
        self.say(reply)

    def line(self) -> str | None:
        data = self.file.readline(1100)

        if not data:
            return None

        if not data.endswith(b"\r\n") or b"\r" in data[:-2]:
            self.refuse("500 5.5.2 a bare line end")

        return data.decode().rstrip("\r\n")

    def run(self) -> None:
        self.say(self.relay.answers.get("CONNECT", "220 relay.example ESMTP"))

        while (line := self.line()) is not None:
            self.relay.commands.append(line)
            verb, _, rest = line.partition(" ")

            if verb.upper() in self.relay.endless:
                self.say_without_end(*self.relay.endless[verb.upper()])

            if (said := self.relay.answers.get(verb.upper())) is not None:
                self.say(said)
            else:
                getattr(self, f"do_{verb.lower()}", self.unknown)(rest)

            if verb.upper() == "QUIT":
                self.socket.close()
                return

    def unknown(self, _: str) -> None:
        self.refuse("502 5.5.1 unknown command")

    def do_ehlo(self, name: str) -> None:
        if FQDN.fullmatch(name) is None:
            self.refuse(f"504 5.5.2 <{name}>: need a fully-qualified hostname")
            return

        self.greeted = True
        offered = ["relay.example", *self.relay.extensions]
        offered += [f"AUTH {self.relay.mechanisms}"] if self.tls else ["STARTTLS"]

        for extension in offered[:-1]:
            self.say(f"250-{extension}")

        self.say(f"250 {offered[-1]}")

    def do_starttls(self, _: str) -> None:
        self.say("220 2.0.0 go ahead")
        self.socket = self.context.wrap_socket(self.socket, server_side=True)
        self.file = self.socket.makefile("rb")
        self.tls, self.greeted = True, False

    def do_auth(self, rest: str) -> None:
        mechanism, _, initial = rest.partition(" ")
        given: tuple[str, ...]

        if not self.tls or mechanism not in self.relay.mechanisms.split():
            self.refuse("504 5.5.4 not that mechanism")
            return

        if mechanism == "PLAIN":
            given = tuple(decoded(initial).split("\0")[1:])
        elif mechanism == "LOGIN":
            given = tuple(self.asked(prompt) for prompt in ("VXNlcm5hbWU6", "UGFzc3dvcmQ6"))
        else:
            challenge = base64.b64encode(b"<1@relay.example>").decode()
            given = tuple(self.asked(challenge).split(" "))

        self.signed_in = given == self.expected(mechanism)
        self.say("235 2.7.0 welcome" if self.signed_in else f"535 5.7.8 wrong: {rest} {given}")

    def expected(self, mechanism: str) -> tuple[str, ...]:
        if mechanism != "CRAM-MD5":
            return self.relay.user, self.relay.password

        return self.relay.user, hmac.new(self.relay.password.encode(), b"<1@relay.example>", "md5").hexdigest()

    def asked(self, prompt: str) -> str:
        self.say(f"334 {prompt}")
        return decoded(self.line() or "")

    def do_mail(self, rest: str) -> None:
        found = PATH.fullmatch(rest)

        if not (self.tls and self.greeted and self.signed_in):
            self.refuse("530 5.7.0 encrypt, greet and sign in first")
        elif found is None:
            self.refuse(f"501 5.1.7 malformed: {rest}")
        else:
            self.options = {option.upper() for option in found[2].split()}
            known = {extension.partition(" ")[0] for extension in self.relay.extensions}
            asked = {"8BITMIME" if option.startswith("BODY=") else option.partition("=")[0] for option in self.options}

            if not asked <= known:
                self.refuse(f"555 5.5.4 not offered: {rest}")
            elif not found[1].isascii() and "SMTPUTF8" not in self.options:
                self.refuse("553 5.6.7 SMTPUTF8 was not asked for")
            else:
                self.sender, self.recipient = found[1], None
                self.say("250 2.1.0 ok")

    def do_rcpt(self, rest: str) -> None:
        found = PATH.fullmatch(rest)

        if self.sender is None or found is None:
            self.refuse(f"501 5.1.3 malformed: {rest}")
        elif not found[1].isascii() and "SMTPUTF8" not in self.options:
            self.refuse("553 5.6.7 SMTPUTF8 was not asked for")
        else:
            self.recipient = found[1]
            self.say("250 2.1.5 ok")

    def do_data(self, _: str) -> None:
        if self.sender is None or self.recipient is None:
            self.refuse("503 5.5.1 no recipient")
            return

        self.say("354 go on")
        lines = []

        while (line := self.file.readline()) != b".\r\n":
            if not line:
                return

            lines.append(line.removeprefix(b"."))

        mail = Received(self.sender, self.recipient, self.options, b"".join(lines))
        faults = list(objections(mail))

        if faults:
            self.refuse(f"554 5.6.0 {'; '.join(faults)}")
        else:
            self.relay.received.append(mail)
            self.say(self.relay.answers.get("END", "250 2.0.0 queued"))

        self.sender = self.recipient = None

    def do_noop(self, _: str) -> None:
        self.say("250 2.0.0 ok")

    def do_quit(self, _: str) -> None:
        self.say("221 2.0.0 bye")


def decoded(text: str) -> str:
    return base64.b64decode(text, validate=True).decode()


def headers(raw: bytes) -> list[tuple[str, str]]:
    """Return the header fields: names in lower case, values unfolded and otherwise unchanged."""
    head = raw.partition(b"\r\n\r\n")[0].decode()
    fields = [line.partition(":") for line in re.split(r"\r\n(?![ \t])", head)]

    return [(name.lower(), value.strip().replace("\r\n", "")) for name, _, value in fields]


def objections(mail: Received) -> Iterator[str]:
    """Yield what is wrong with a message."""
    head, _, body = mail.raw.partition(b"\r\n\r\n")
    lines = mail.raw.split(b"\r\n")

    if re.search(rb"(?<!\r)\n|\r(?!\n)", mail.raw):
        yield "a bare line end"

    if re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", mail.raw):
        yield "a control character"

    if max(map(len, lines)) > 998:
        yield "a line of more than 998 bytes"

    if not head.isascii() and "SMTPUTF8" not in mail.options:
        yield "UTF-8 in the header without SMTPUTF8"

    if not body.isascii() and "BODY=8BITMIME" not in mail.options:
        yield "8-bit data without BODY=8BITMIME"

    if b"quoted-printable" in mail.raw and max(map(len, body.split(b"\r\n"))) > 76:
        yield "a line of more than 76 bytes in quoted-printable"

    if any(len(line) > 76 for line in head.split(b"\r\n") if b"=?" in line):
        yield "a line of more than 76 bytes with an encoded word"

    if not all(re.match(rb"[!-9;-~]+:(?: \S|$)|[ \t]+\S", line) for line in head.split(b"\r\n")):
        yield "a malformed header line"

    yield from header_objections(mail)


def header_objections(mail: Received) -> Iterator[str]:
    fields = headers(mail.raw)
    names = [name for name, _ in fields]
    values = dict(fields)

    wanted = dict.fromkeys(("from", "to", "date", "message-id", "subject", "mime-version"), 1)

    for name, count in (wanted | dict.fromkeys(("cc", "bcc", "sender", "reply-to"), 0)).items():
        if names.count(name) != count:
            yield f"{names.count(name)} {name} fields"

    for name in ("message-id", "in-reply-to", "references"):
        if name in values and IDENTIFIER.fullmatch(values[name]) is None:
            yield f"{name} is no identifier: {values[name]}"

    if values.get("to") != mail.recipient:
        yield f"To is not the recipient: {values.get('to')}"

    if re.fullmatch(rf"{PHRASE} <{re.escape(mail.sender)}>", values.get("from", "")) is None:
        yield f"From is not the sender: {values.get('from')}"

    try:
        if parsedate_to_datetime(values.get("date", "")).tzinfo is None:
            yield "a Date without a zone"
    except ValueError:
        yield "no Date"
