from __future__ import annotations

from datetime import UTC, datetime

from orchestrator.config.mail_address import NO_MAIL
from orchestrator.mail.message import Message
from orchestrator.mail.mime import compose
from orchestrator.mail.smtp import Envelope
from orchestrator.testing.trial.mail import Postbox


async def test_a_mail_is_read_back_from_what_would_have_been_sent() -> None:
    message = Message(
        to="ada@example.org",
        subject="Größe?",
        text="Décide here:\nhttps://a.example/x?y=1\n\nor there: http://b.example/z.\n",
        html="<p>Décide</p>",
    )
    content = compose(message, sender="us@example.org", name="Us", message_id="1", date=datetime.fromtimestamp(0, UTC))
    postbox = Postbox()
    await postbox.deliver(NO_MAIL, Envelope(sender="us@example.org", recipient=message.to, content=content))

    (mail,) = postbox.mails
    assert (mail.to, mail.subject, mail.text) == (message.to, message.subject, message.text)
    assert mail.links == ("https://a.example/x?y=1", "http://b.example/z")
    assert mail.html is not None
    assert "<p>Décide</p>" in mail.html
