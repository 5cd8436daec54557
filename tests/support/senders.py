"""Third parties that send webhooks, each signing as its own library does, and a sources file with all of them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import standardwebhooks
import stripe
import svix
from slack_sdk.signature import SignatureVerifier

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

type Headers = dict[str, str]


@dataclass(frozen=True)
class Sender:
    """A scheme, a secret for it, and how a request is signed: `sign(secret, body, moment)`.

    `lines` are the other lines of its table in the sources file.
    """

    scheme: str
    secret: str
    sign_with: Callable[[str, str, int], Headers]
    lines: str = ""

    def sign(self, body: str, moment: int | None = None, *, secret: str | None = None) -> Headers:
        return self.sign_with(secret or self.secret, body, int(time.time()) if moment is None else moment)


def as_standard(secret: str, body: str, moment: int, identity: str = "msg_1") -> Headers:
    signature = standardwebhooks.Webhook(secret).sign(identity, datetime.fromtimestamp(moment, tz=UTC), body)
    return {"webhook-id": identity, "webhook-timestamp": str(moment), "webhook-signature": signature}


def as_svix(secret: str, body: str, moment: int, identity: str = "msg_1") -> Headers:
    signature = svix.Webhook(secret).sign(identity, datetime.fromtimestamp(moment, tz=UTC), body)
    return {"svix-id": identity, "svix-timestamp": str(moment), "svix-signature": signature}


def as_stripe(secret: str, body: str, moment: int) -> Headers:
    return {"Stripe-Signature": stripe.WebhookSignature.generate_signature_header(body, secret, moment)}


def as_slack(secret: str, body: str, moment: int) -> Headers:
    signature = SignatureVerifier(secret).generate_signature(timestamp=str(moment), body=body)
    return {"X-Slack-Request-Timestamp": str(moment), "X-Slack-Signature": str(signature)}


def as_github(secret: str, body: str, _: int) -> Headers:
    return {"X-Hub-Signature-256": f"sha256={hmac.new(secret.encode(), body.encode(), hashlib.sha256).hexdigest()}"}


def as_shopify(secret: str, body: str, _: int) -> Headers:
    digest = hmac.new(secret.encode(), body.encode(), hashlib.sha256).digest()
    return {"X-Shopify-Hmac-Sha256": base64.b64encode(digest).decode()}


def as_own(secret: str, body: str, _: int) -> Headers:
    digest = hmac.new(secret.encode(), body.encode(), hashlib.sha512).digest()
    return {"X-Signature": f"v={base64.b64encode(digest).decode()}"}


def as_own_at_a_time(secret: str, body: str, moment: int) -> Headers:
    signed = f"{moment}.{body}".encode()
    return {"X-Sig": hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest(), "X-At": str(moment)}


def as_databricks(secret: str, _: str, __: int) -> Headers:
    return {"Authorization": f"Basic {base64.b64encode(secret.encode()).decode()}"}


def whsec() -> str:
    return f"whsec_{base64.b64encode(secrets.token_bytes(24)).decode()}"


def senders() -> dict[str, Sender]:
    """Return one sender of each kind, with new secrets. Those that sign a time come first."""
    own = 'header = "X-Signature"\nhash = "sha512"\nencoding = "base64"\nprefix = "v="'
    return {
        "standard": Sender("standard", whsec(), as_standard),
        "svix": Sender("standard", whsec(), as_svix),
        "stripe": Sender("stripe", f"whsec_{secrets.token_hex(16)}", as_stripe),
        "slack": Sender("slack", secrets.token_hex(16), as_slack),
        "timed": Sender("hmac", secrets.token_hex(32), as_own_at_a_time, 'header = "X-Sig"\ntimestamp_header = "X-At"'),
        "github": Sender("github", secrets.token_hex(20), as_github),
        "shopify": Sender("shopify", secrets.token_hex(32), as_shopify),
        "own": Sender("hmac", secrets.token_hex(32), as_own, own),
        "databricks": Sender("databricks", f"databricks:{secrets.token_urlsafe(24)}", as_databricks),
    }


TIMED = ("standard", "svix", "stripe", "slack", "timed")
BODY_ONLY = ("github", "shopify", "own")
SIGNED = (*TIMED, *BODY_ONLY)


def sources_file(folder: Path, known: dict[str, Sender], lines: str = "") -> str:
    """Write a sources file with these senders and `lines` in each signing sender's table; return its name."""
    tables = []

    for name, sender in known.items():
        (folder / f"{name}.secret").write_text(f"{sender.secret}\n")
        more = lines if sender.scheme != "databricks" else ""
        tables.append(
            f'[sources.{name}]\nscheme = "{sender.scheme}"\nsecrets = ["file:{name}.secret"]\n{sender.lines}\n{more}\n'
        )

    (folder / "sources.toml").write_text("\n".join(tables))
    return "sources.toml"
