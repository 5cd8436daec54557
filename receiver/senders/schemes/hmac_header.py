"""One HMAC in one header, over the body or over a timestamp and the body: GitHub, Shopify, Slack, and your own.

These senders also send event names and delivery ids in headers. They are not signed, so they are never read.
"""

from __future__ import annotations

import base64
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

from receiver.senders.schemes.scheme import (
    SignatureRefused,
    Signed,
    check_any,
    check_moment,
    check_text,
    single_headers,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.config.secret import Secret
    from receiver.senders.schemes.scheme import Headers

type Hash = Literal["sha256", "sha512"]
type Encoding = Literal["hex", "base64"]


@dataclass(frozen=True, kw_only=True)
class HeaderSignature:
    """A signature in `header`, written as `prefix` and the digest in lower case hex or padded standard base64.

    Header names are in lower case. With a `timestamp_header`, the timestamp and the body are signed, put together by
    `layout`. `text` means that the sender signs only text in UTF-8.
    """

    secrets: tuple[Secret, ...]
    header: bytes
    hash: Hash = "sha256"
    encoding: Encoding = "hex"
    prefix: bytes = b""
    timestamp_header: bytes | None = None
    layout: bytes = b"%b.%b"
    text: bool = False
    challenge: str = "Signature"

    @classmethod
    def github(cls, secrets: tuple[Secret, ...]) -> Self:
        """Return GitHub's scheme.

        See https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries.
        """
        return cls(secrets=secrets, header=b"x-hub-signature-256", prefix=b"sha256=")

    @classmethod
    def shopify(cls, secrets: tuple[Secret, ...]) -> Self:
        """Return Shopify's scheme (https://shopify.dev/docs/apps/build/webhooks/subscribe/https)."""
        return cls(secrets=secrets, header=b"x-shopify-hmac-sha256", encoding="base64")

    @classmethod
    def slack(cls, secrets: tuple[Secret, ...]) -> Self:
        """Return Slack's scheme (https://docs.slack.dev/authentication/verifying-requests-from-slack)."""
        return cls(
            secrets=secrets,
            header=b"x-slack-signature",
            prefix=b"v0=",
            timestamp_header=b"x-slack-request-timestamp",
            layout=b"v0:%b:%b",
            text=True,
        )

    @property
    def timestamped(self) -> bool:
        """Whether a captured request expires by itself."""
        return self.timestamp_header is not None

    def verify(self, headers: Headers, body: bytes, *, now: Callable[[], float]) -> Signed:
        """Return what is signed: the timestamp, if there is one."""
        names = {self.header} if self.timestamp_header is None else {self.header, self.timestamp_header}
        found = single_headers(headers, names)
        moment = b"" if self.timestamp_header is None else found[self.timestamp_header]

        if self.timestamp_header is not None:
            check_moment(moment, now)

        if not found[self.header].startswith(self.prefix):
            raise SignatureRefused("the signature header is malformed")

        signed = body if self.timestamp_header is None else self.layout % (moment, body)
        check_any([found[self.header]], (self.prefix + self._written(secret, signed) for secret in self.secrets))

        if self.text:
            check_text(body)

        return Signed(moment=moment)

    def _written(self, secret: Secret, signed: bytes) -> bytes:
        digest = hmac.digest(secret.reveal(), signed, self.hash)

        return digest.hex().encode() if self.encoding == "hex" else base64.b64encode(digest)
