"""Every mail that is sent passes a strict relay, from odd senders, to odd people, with odd texts.

Long because senders, people and texts are tables that several tests combine.
"""

from __future__ import annotations

import base64
import secrets
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from support.relay import PASSWORD, USER, Received, Relay, objections

from orchestrator.approvals.letter import Letter
from orchestrator.callbacks.question import Question
from orchestrator.config.mail_address import mail_address
from orchestrator.durable.opened_at import MARK
from orchestrator.durable.persisting import DONE
from orchestrator.engine import Engine
from orchestrator.errors import StepRefused, StepUnavailable
from orchestrator.mail import smtp
from orchestrator.mail.end_notice import notify
from orchestrator.mail.mailer import Mailer
from orchestrator.mail.message import Message
from orchestrator.mail.mime import compose
from orchestrator.text.mailbox import mailbox

MESSAGE = Message(to="ada@example.org", subject="It is done", text="All rows are there: é\n.\n..\nFrom here\n")
LINK = "https://callbacks.example.org/approvals/" + "a" * 1800 + "." + "b" * 43
LONG_DOMAIN = ".".join(["a-department-with-a-long-name"] * 8) + ".example"

SENDERS = (
    "no-reply@example.org",
    "no-reply@a-host-of-forty-three-characters-xx.example",
    f"a@{LONG_DOMAIN}",
    f"{'l' * 64}@long.example",
    "jürgen@exämple.example",
    "no-reply@bücher.example",
    "o'brien+tag={x}|y/z~@example.org",
)
PEOPLE = (
    "ada@example.org",
    f"ada@{LONG_DOMAIN}",
    f"{'l' * 64}@{'m' * 63}.{'n' * 63}.example",
    "o'brien+tag=x@example.org",
    "jürgen@exämple.example",
    "ada@bücher.example",
    "佐藤@例え.example",
)
TEXTS = (
    "Ship it?",
    "Ship order =?utf-8?q?=E2=80=AE=0D=0ABcc:_eve=40evil.example?= ?",
    "x\r\nBcc: eve@evil.example\r\n\r\n<b>",
    "Überraschung " * 30,
    "\u202egnp.exe \x00\x07\x1b[31m \u2028 \u2066",
    "w" * 3000,
    "half a pair \ud800",
    "日本語" * 100,
    "😀" * 100,
)


def mailer(port: int, certificate: Path | None, *, name: str = "Countersign", **options: Any) -> Mailer:
    """Return a mailer as the settings make one."""
    user, password = options.get("user", USER), options.get("password", PASSWORD)
    sender, more = options.get("sender", SENDERS[0]), options.get("more", "")
    value = f"{options.get('kind', 'smtp')}://{quoted(user)}:{quoted(password)}@localhost:{port}?from={quoted(sender)}{more}"
    public_host = options.get("public_host", "callbacks.example.org")

    return Mailer(mail_address("COUNTERSIGN_MAIL", value, public_host=public_host, ca_file=certificate), name=name)


def quoted(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())


def letter(to: str = "ada@example.org", title: str = "Ship it?", reminder: int = 0, name: str = "Acme") -> Letter:
    question = Question(title=title, text=title, facts=[(title, title)], links=[(title, "https://a.example/t")])

    return Letter(to=to, question=question, link=LINK, until=1_800_000_000_000, name=name, reminder=reminder)


async def passed(relay: Relay, certificate: Path, *messages: tuple[Message, str], **options: Any) -> list[Received]:
    with relay.running(certificate, implicit=options.get("kind") == "smtps") as port:
        for message, message_id in messages:
            await mailer(port, certificate, **options).send(message, message_id=message_id)

    assert relay.refusals == []
    return relay.received


@pytest.mark.parametrize("sender", SENDERS)
@pytest.mark.parametrize("kind", ["smtp", "smtps"])
async def test_a_letter_and_its_reminder_pass_from_any_sender(certificate: Path, sender: str, kind: str) -> None:
    both = [letter(), letter(reminder=1)]
    first, second = await passed(
        Relay(), certificate, *((one.message(), one.message_id) for one in both), sender=sender, kind=kind
    )

    assert first.header("message-id").endswith(f"@{first.sender.rpartition('@')[2]}>")
    assert second.header("references") == second.header("in-reply-to") == first.header("message-id")
    assert LINK in first.text()


async def test_a_mail_is_dated_by_the_clock_it_is_given(certificate: Path) -> None:
    relay = Relay()

    with relay.running(certificate) as port:
        value = f"smtp://{quoted(USER)}:{quoted(PASSWORD)}@localhost:{port}?from=a@example.org"
        address = mail_address("COUNTERSIGN_MAIL", value, public_host="callbacks.example.org", ca_file=certificate)
        await Mailer(address, clock=lambda: 1_800_000_000.0).send(MESSAGE, message_id="a")

    assert relay.received[0].header("date") == "Fri, 15 Jan 2027 08:00:00 +0000"


@pytest.mark.parametrize("person", PEOPLE)
async def test_a_letter_passes_to_anybody_and_to_nobody_else(certificate: Path, person: str) -> None:
    (mail,) = await passed(Relay(), certificate, (letter(person).message(), "a"))

    assert mail.recipient == mail.header("to")
    assert mail.recipient.rpartition("@")[2].isascii()
    assert mail.recipient.partition("@")[0] == person.partition("@")[0]


async def test_only_a_local_part_in_other_letters_needs_smtputf8(certificate: Path) -> None:
    idn, local = await passed(
        Relay(),
        certificate,
        *((Message(to=to, subject="x", text="x"), to) for to in ("ada@exämple.example", "jürgen@exämple.example")),
    )

    assert (idn.recipient, idn.options) == ("ada@xn--exmple-cua.example", {f"SIZE={len(idn.raw)}"})
    assert local.recipient == "jürgen@xn--exmple-cua.example"
    assert local.options >= {"SMTPUTF8", "BODY=8BITMIME"}


@pytest.mark.parametrize(
    ("sender", "to"), [("no-reply@example.org", "jürgen@example.org"), ("jürgen@example.org", "ada@example.org")]
)
async def test_a_relay_without_smtputf8_gets_no_such_address_and_the_reason_is_said(
    certificate: Path, sender: str, to: str
) -> None:
    relay = Relay(extensions=("8BITMIME",))

    with relay.running(certificate) as port, pytest.raises(StepRefused, match="SMTPUTF8"):
        await mailer(port, certificate, sender=sender).send(Message(to=to, subject="x", text="x"), message_id="a")

    assert not any(command.startswith(("MAIL", "RCPT")) for command in relay.commands)


async def test_a_relay_that_knows_no_extension_takes_ordinary_mail(certificate: Path) -> None:
    (mail,) = await passed(Relay(extensions=()), certificate, (MESSAGE, "a"))

    assert mail.raw.isascii()
    assert mail.options == set()
    assert mail.text() == MESSAGE.text


@pytest.mark.parametrize("text", TEXTS)
async def test_a_text_from_anybody_stays_one_text_in_its_own_place(certificate: Path, text: str) -> None:
    mails = await passed(
        Relay(),
        certificate,
        (letter(title=text).message(), "a"),
        (letter(title=text, reminder=2).message(), "b"),
        (Message(to="ada@example.org", subject=text, text=text), "c"),
        name=text.replace("\r\n", " ")[:100],
    )

    assert mails[0].message["subject"] == letter(title=text).message().subject
    assert "eve@evil.example" not in {mail.recipient for mail in mails}
    assert not any(set(mail.message["subject"]) & set("\u202e\u2028\x00\x1b\r\n") for mail in mails)


async def test_a_subject_that_looks_like_an_encoded_word_is_shown_as_it_is_written(certificate: Path) -> None:
    subject = "=?utf-8?q?Order_42_is_approved?="
    (mail,) = await passed(Relay(), certificate, (Message(to="a@example.org", subject=subject, text="x"), "a"))

    assert mail.message["subject"] == subject


@pytest.mark.parametrize(
    "name", ["Acme", 'Acme "Hooks" \\ Co.', "Äcme GmbH", "eve@evil.example, x", "=?utf-8?q?x?=", "a <b@c.example>"]
)
async def test_the_organisation_is_the_sender_s_name_and_changes_no_address(certificate: Path, name: str) -> None:
    (mail,) = await passed(Relay(), certificate, (letter(name=name).message(), "a"), name=name)
    (sender,) = mail.message["from"].addresses

    assert (sender.display_name, sender.addr_spec) == (name, "no-reply@example.org")
    assert f"Sent by {name}." in mail.text()


@pytest.mark.parametrize(
    "what", ["succeeded (run 7)", "failed (run 7): \u202eno\x00 d\u00e4ta\r\nBcc: eve@evil.example"]
)
@pytest.mark.parametrize("person", PEOPLE)
async def test_the_mail_about_a_pipeline_passes(certificate: Path, person: str, what: str) -> None:
    relay = Relay()

    with relay.running(certificate) as port:
        record = SimpleNamespace(created_at=1, tags=MARK)
        known = {
            Mailer: mailer(port, certificate),
            Engine: SimpleNamespace(promises=AsyncMock(**{"get.return_value": record})),
        }
        ctx = SimpleNamespace(get_dependency=known.__getitem__)
        assert await notify(ctx, mailbox(person), "databricks_pipeline.load", what) == DONE  # type: ignore[arg-type]

    (mail,) = relay.received
    assert mail.recipient == mail.header("to") == mailbox(person)
    assert mail.message["subject"] == f"databricks_pipeline.load {what.partition(':')[0]}"


@hypothesis_settings(max_examples=200, deadline=None)
@given(subject=st.text(max_size=400), text=st.text(max_size=400), name=st.text(max_size=120), follows=st.text())
def test_any_text_makes_a_message_to_which_nothing_can_be_objected(
    subject: str, text: str, name: str, follows: str
) -> None:
    message = Message(to="ada@example.org", subject=subject, text=text, html=text, follows=follows)
    shown = Mailer(mail_address("X", "console:", public_host="localhost"), name=name).name
    raw = compose(message, sender="a@example.org", name=shown, message_id="a", date=datetime.now(UTC))

    assert list(objections(Received("a@example.org", "ada@example.org", set(), raw))) == []


@pytest.mark.parametrize("mechanisms", ["PLAIN", "LOGIN", "CRAM-MD5", "XOAUTH2 LOGIN PLAIN"])
@pytest.mark.parametrize("password", ["plain enough", "Passwört-€-密码", "a" * 200])
async def test_a_password_in_any_letters_signs_in(certificate: Path, mechanisms: str, password: str) -> None:
    relay = Relay(mechanisms=mechanisms, user="jürgen", password=password)
    await passed(relay, certificate, (MESSAGE, "a"), user="jürgen", password=password)

    assert len(relay.received) == 1


@pytest.mark.parametrize("mechanisms", ["PLAIN", "LOGIN", "CRAM-MD5"])
async def test_a_relay_that_repeats_what_it_was_told_gives_nothing_away(certificate: Path, mechanisms: str) -> None:
    with Relay(mechanisms=mechanisms).running(certificate) as port, pytest.raises(StepRefused) as caught:
        await mailer(port, certificate, password="hunter-zwölf").send(MESSAGE, message_id="a")

    assert str(caught.value).endswith("of COUNTERSIGN_MAIL (it answered 535 5.7.8)")
    assert caught.value.__cause__ is caught.value.__context__ is None


@pytest.mark.parametrize("verb", ["EHLO", "MAIL", "RCPT", "DATA", "END", "CONNECT"])
async def test_what_a_server_says_is_shown_without_credentials_addresses_and_length(
    certificate: Path, verb: str
) -> None:
    password = f"zwölf-{secrets.token_hex(8)}"
    plain = base64.b64encode(f"\0{USER}\0{password}".encode()).decode()
    said = f"550 5.1.1 {password} {plain} <ada@example.org> <NO-REPLY@example.org> \x1b[31mred\x1b[0m {'x ' * 300}"

    with (
        Relay(password=password, answers={verb: said}).running(certificate) as port,
        pytest.raises(StepRefused) as caught,
    ):
        await mailer(port, certificate, password=password).send(MESSAGE, message_id="a")

    text = str(caught.value)
    assert text.startswith("the mail server answered 550 5.1.1 [...]")
    assert text.isprintable()
    assert len(text) < 250
    assert not any(secret in text for secret in (password, "zw", plain, "@example.org", "ada"))
    assert caught.value.__cause__ is caught.value.__context__ is None


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ({"CONNECT": "554 no"}, StepRefused),
        ({"CONNECT": "421 later"}, StepUnavailable),
        ({"EHLO": "504 who"}, StepRefused),
        ({"STARTTLS": "454 later"}, StepUnavailable),
        ({"AUTH": "454 later"}, StepUnavailable),
        ({"AUTH": "534 no"}, StepRefused),
        ({"MAIL": "451 later"}, StepUnavailable),
        ({"MAIL": "553 no"}, StepRefused),
        ({"RCPT": "452 later"}, StepUnavailable),
        ({"RCPT": "550 no"}, StepRefused),
        ({"DATA": "451 later"}, StepUnavailable),
        ({"END": "452 later"}, StepUnavailable),
        ({"END": "554 no"}, StepRefused),
        ({"RCPT": "garbage"}, StepUnavailable),
    ],
)
async def test_4xx_is_tried_again_and_5xx_is_not(
    certificate: Path, answers: dict[str, str], error: type[Exception]
) -> None:
    with Relay(answers=answers).running(certificate) as port, pytest.raises(error):
        await mailer(port, certificate).send(MESSAGE, message_id="a")


@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", ["smtp", "smtps"])
@pytest.mark.parametrize("verb", ["EHLO", "RCPT"])
@pytest.mark.parametrize("endless", [("250-and\r\n", 0), ("250-and\r\n", 0.01), ("2", 0.01)])
async def test_a_server_that_never_comes_to_an_end_is_left(
    certificate: Path, monkeypatch: pytest.MonkeyPatch, verb: str, endless: tuple[str, float], kind: str
) -> None:
    # Without a pause the number of bytes ends it, with one the time.
    monkeypatch.setattr(smtp, "_SECONDS_IN_ALL", 3600 if endless[1] == 0 else 2)
    relay = Relay(endless={verb: endless})

    with relay.running(certificate, implicit=kind == "smtps") as port, pytest.raises(StepUnavailable):
        await mailer(port, certificate, kind=kind).send(MESSAGE, message_id="a")


@pytest.mark.parametrize("goodbye", ["421 4.3.2 going down", "500 what", "nonsense"])
async def test_a_message_that_was_taken_is_not_sent_again_for_a_rude_goodbye(certificate: Path, goodbye: str) -> None:
    assert len(await passed(Relay(answers={"QUIT": goodbye}), certificate, (MESSAGE, "a"))) == 1


@pytest.mark.parametrize(
    ("public_host", "more", "said"),
    [
        ("callbacks.example.org", "", "callbacks.example.org"),
        ("callbacks.example.org", "&hello=mx.example.net", "mx.example.net"),
        ("callbacks.example.org", "&hello=b%C3%BCcher.example", "xn--bcher-kva.example"),
        ("127.0.0.1", "", "example.org"),
        ("2001:db8::1", "", "example.org"),
        ("localhost", "", "example.org"),
        ("my_host.example", "", "example.org"),
    ],
)
async def test_the_greeting_is_a_name(certificate: Path, public_host: str, more: str, said: str) -> None:
    relay = Relay()
    await passed(relay, certificate, (MESSAGE, "a"), public_host=public_host, more=more)

    assert [command for command in relay.commands if command.upper().startswith("EHLO")] == [f"ehlo {said}"] * 2


async def test_the_check_signs_in_and_looks_for_what_the_sender_needs(certificate: Path) -> None:
    with Relay(extensions=()).running(certificate) as port:
        await mailer(port, certificate).check()

        with pytest.raises(StepRefused, match="SMTPUTF8"):
            await mailer(port, certificate, sender="jürgen@example.org").check()

        with pytest.raises(StepRefused, match="COUNTERSIGN_MAIL"):
            await mailer(port, certificate, password="wrong").check()


async def test_certificates_that_are_not_there_are_named_by_their_variable(certificate: Path, tmp_path: Path) -> None:
    with Relay().running(certificate) as port, pytest.raises(StepUnavailable, match="SSL_CERT_FILE"):
        await mailer(port, tmp_path / "none.pem").send(MESSAGE, message_id="a")


async def test_a_relay_that_offers_no_sign_in_that_is_known_is_refused(certificate: Path) -> None:
    with Relay(mechanisms="XOAUTH2").running(certificate) as port, pytest.raises(StepRefused, match="sign-in"):
        await mailer(port, certificate).send(MESSAGE, message_id="a")


@pytest.mark.parametrize(
    "to", ["=?utf-8?q?e=40evil.example=3e?=@corp.example", "ada@example.org>", "a@b.example\r\nBcc: c@d.example", ""]
)
async def test_what_is_no_address_is_refused_before_a_server_is_asked(certificate: Path, to: str) -> None:
    relay = Relay()

    with relay.running(certificate) as port, pytest.raises(StepRefused, match="not an e-mail address"):
        await mailer(port, certificate).send(Message(to=to, subject="x", text="x"), message_id="a")

    assert relay.commands == []
