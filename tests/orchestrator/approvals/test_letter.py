"""The mail that asks a person, as it arrives over a real mail server."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from support.postbox import Postbox, mailer, server

from orchestrator.approvals.letter import Letter
from orchestrator.callbacks.question import Question

if TYPE_CHECKING:
    from email.message import EmailMessage
    from pathlib import Path

LINK = "https://callbacks.example.org/approvals/" + "a" * 1200 + "." + "b" * 43
HOSTILE = '<script>alert(1)</script> "q" & \u202etxt.exe \x00\r\nBcc: eve@example.org'


def letter(reminder: int = 0, code: str | None = None, **question: object) -> Letter:
    asked = Question(**({"title": "Ship it?", "text": "Two books.\n\nPaid."} | question))  # type: ignore[arg-type]
    return Letter(
        to="ada@example.org", question=asked, link=LINK, until=1_800_000_000_000, code=code, reminder=reminder
    )


async def arrived(certificate: Path, *letters: Letter) -> list[EmailMessage]:
    postbox = Postbox()

    with server(postbox, certificate) as port:
        for one in letters:
            await mailer(port, certificate).send(one.message(), message_id=one.message_id)

    return postbox.messages


def part(mail: EmailMessage, kind: str) -> str:
    found = mail.get_body((kind,))
    assert found is not None
    text: str = found.get_content()
    return text.replace("\r\n", "\n")


async def test_the_plain_part_alone_says_everything(certificate: Path) -> None:
    facts, links = [("Order", "42")], [("Terms", "https://a.example/t")]
    (mail,) = await arrived(certificate, letter(code="ABCD-EFGH", facts=facts, links=links))

    assert part(mail, "plain") == (
        "Your decision is needed.\n\nShip it?\n\nTwo books.\n\nPaid.\n\nOrder: 42\n\nTerms: https://a.example/t\n\n"
        f"Read it once more and decide here:\n{LINK}\n\n"
        "The page asks for this code, which is only in this mail: ABCD-EFGH\n\n"
        "Until 15 January 2027, 08:00 UTC. Opening the link decides nothing; a button on the page does. "
        "The link is for ada@example.org alone: please do not pass this mail on.\n\nSent by Countersign.\n"
    )
    for shown in ("Ship it?", "Two books.", "Order", "42", "https://a.example/t", LINK, "ABCD-EFGH"):
        assert shown in part(mail, "html")


async def test_a_step_that_is_repeated_sends_the_same_mail_and_a_reminder_is_another_one(certificate: Path) -> None:
    first, again, reminder, next_one = await arrived(certificate, letter(), letter(), letter(1), letter(2))

    assert first["Message-ID"] == again["Message-ID"]
    assert part(first, "plain") == part(again, "plain")
    assert len({mail["Message-ID"] for mail in (first, reminder, next_one)}) == 3
    assert reminder["References"] == next_one["References"] == first["Message-ID"]
    assert reminder["Subject"] == "Reminder: Ship it?"
    assert part(reminder, "plain").startswith("A reminder: your decision is still needed.")


@pytest.mark.parametrize("kind", ["plain", "html"])
async def test_hostile_text_stays_text(certificate: Path, kind: str) -> None:
    (mail,) = await arrived(certificate, letter(title=HOSTILE, text=HOSTILE, facts=[(HOSTILE, HOSTILE)]))

    assert "\r" not in mail["Subject"]
    assert "\n" not in mail["Subject"]
    assert mail["Bcc"] is None
    assert "\u202e" not in mail["Subject"]
    text = part(mail, kind)
    assert not re.search("[\u202e\x00]", text)
    assert ("<script" in text) is (kind == "plain")


async def test_nothing_is_loaded_when_it_is_opened(certificate: Path) -> None:
    (mail,) = await arrived(certificate, letter(links=[("Terms", "https://a.example/t")]))

    assert not re.search(r"<img|<script|<link|<style|src=|url\(", part(mail, "html"))
