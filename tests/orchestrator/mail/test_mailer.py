"""Mail: over a real SMTP server, with TLS always; printed to the console only where that is configured."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from support.postbox import Postbox, mailer, server

from orchestrator.config.settings import MailAddress
from orchestrator.errors import StepRefused, StepUnavailable
from orchestrator.mail.mailer import Mailer
from orchestrator.mail.message import Message

if TYPE_CHECKING:
    from pathlib import Path

MESSAGE = Message(to="ada@example.org", subject="pipeline\r\nsucceeded", text="All rows are there: é\n")


@pytest.mark.parametrize("kind", ["smtp", "smtps"])
async def test_a_message_arrives_over_tls_with_a_stable_message_id(kind: str, certificate: Path) -> None:
    postbox = Postbox()

    with server(postbox, certificate, implicit=kind == "smtps") as port:
        for _ in range(2):
            await mailer(port, certificate, kind=kind).send(MESSAGE, message_id="notify.a")

        await mailer(port, certificate, kind=kind).send(MESSAGE, message_id="notify.b")

    first, again, other = postbox.messages
    assert first["Message-ID"] == again["Message-ID"] != other["Message-ID"]
    assert (first["To"], first["From"]) == ("ada@example.org", "Countersign <no-reply@example.org>")
    assert first["Subject"] == "pipeline succeeded"
    assert first.get_content().splitlines() == ["All rows are there: é"]


async def test_a_message_with_html_can_be_read_as_plain_text_alone(certificate: Path) -> None:
    postbox = Postbox()
    both = Message(to="ada@example.org", subject="Ship it?", text="In words: é\n", html="<p>In HTML: é</p>")
    reminder = Message(to="ada@example.org", subject="Reminder", text="Again\n", follows="a")

    with server(postbox, certificate) as port:
        await mailer(port, certificate).send(both, message_id="a")
        await mailer(port, certificate).send(reminder, message_id="b")

    first, second = postbox.messages
    plain, rich = first.get_body(("plain",)), first.get_body(("html",))
    assert first.get_content_type() == "multipart/alternative"
    assert plain is not None
    assert rich is not None
    assert plain.get_content().splitlines() == ["In words: é"]
    assert rich.get_content().splitlines() == ["<p>In HTML: é</p>"]
    assert second["In-Reply-To"] == second["References"] == first["Message-ID"] != second["Message-ID"]


async def test_a_server_without_tls_is_refused_before_the_password_is_sent(certificate: Path) -> None:
    postbox = Postbox()

    with server(postbox, certificate, tls=False) as port, pytest.raises(StepRefused):
        await mailer(port, certificate).send(MESSAGE, message_id="a")

    assert postbox.messages == []


async def test_a_certificate_that_nobody_trusts_is_not_sent_to(certificate: Path) -> None:
    postbox = Postbox()

    with server(postbox, certificate) as port, pytest.raises(StepUnavailable):
        await mailer(port, None).send(MESSAGE, message_id="a")

    assert postbox.messages == []


async def test_a_wrong_password_is_a_refusal_that_does_not_hold_it(certificate: Path) -> None:
    with server(Postbox(), certificate) as port, pytest.raises(StepRefused) as caught:
        await mailer(port, certificate, password="wrong-password").send(MESSAGE, message_id="a")

    assert "wrong-password" not in str(caught.value)


@pytest.mark.parametrize(("answer", "error"), [("550 no such person", StepRefused), ("451 later", StepUnavailable)])
async def test_what_the_server_says_decides_whether_it_is_tried_again(
    certificate: Path, answer: str, error: type[Exception]
) -> None:
    with server(Postbox(answer=answer), certificate) as port, pytest.raises(error, match=answer[:3]):
        await mailer(port, certificate).send(MESSAGE, message_id="a")


async def test_a_server_that_is_away_may_be_tried_again(certificate: Path) -> None:
    with server(Postbox(), certificate) as port:
        pass

    with pytest.raises(StepUnavailable):
        await mailer(port, certificate).send(MESSAGE, message_id="a")


async def test_the_check_signs_in_and_sends_nothing(certificate: Path) -> None:
    postbox = Postbox()

    with server(postbox, certificate) as port:
        await mailer(port, certificate).check()

        with pytest.raises(StepRefused):
            await mailer(port, certificate, password="wrong").check()

    assert postbox.messages == []


async def test_the_console_shows_the_whole_message() -> None:
    console = io.StringIO()
    await Mailer(MailAddress(kind="console"), console=console).send(MESSAGE, message_id="a")

    assert "All rows are there" in console.getvalue()
    assert "ada@example.org" in console.getvalue()


async def test_a_console_that_knows_ascii_alone_shows_the_message_too() -> None:
    written = io.BytesIO()
    console = io.TextIOWrapper(written, encoding="ascii", newline="")
    await Mailer(MailAddress(kind="console"), console=console).send(MESSAGE, message_id="a")

    assert b"All rows are there: \\xe9\n" in written.getvalue()


async def test_what_could_steer_a_terminal_is_not_printed() -> None:
    console = io.StringIO()
    hostile = Message(to="ada@example.org", subject="\x1b[2J\u202e", text="\x1b]0;x\x07\r\u200b")
    await Mailer(MailAddress(kind="console"), console=console).send(hostile, message_id="a")

    assert console.getvalue().replace("\n", "").isprintable()


async def test_without_a_mail_setting_mail_is_refused() -> None:
    with pytest.raises(StepRefused, match="COUNTERSIGN_MAIL"):
        await Mailer(MailAddress(kind="none")).send(MESSAGE, message_id="a")

    with pytest.raises(StepRefused, match="COUNTERSIGN_MAIL"):
        await Mailer(MailAddress(kind="none")).check()
