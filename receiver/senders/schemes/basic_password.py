"""Basic authentication (RFC 7617), the only authentication of Databricks' job notifications. It signs nothing.

Anybody who has the password, or sees one request, can send any body. So these deliveries may only be hints.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from receiver.senders.schemes.scheme import SignatureRefused, Signed, check_any, single_headers

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.config.secret import Secret
    from receiver.senders.schemes.scheme import Headers

_HEADER: Final = b"authorization"


@dataclass(frozen=True, kw_only=True)
class BasicPassword:
    """Databricks; the secrets are `user:password`."""

    secrets: tuple[Secret, ...]
    challenge: str = 'Basic realm="countersign", charset="UTF-8"'
    timestamped: bool = False

    def verify(self, headers: Headers, body: bytes, *, now: Callable[[], float]) -> Signed:  # noqa: ARG002 - a Scheme
        """Return an empty `Signed`, since nothing is signed, or raise `SignatureRefused` for wrong credentials."""
        kind, _, credentials = single_headers(headers, {_HEADER})[_HEADER].partition(b" ")

        if kind.lower() != b"basic":
            raise SignatureRefused("the Authorization header is not Basic")

        check_any([credentials.strip(b" ")], (base64.b64encode(secret.reveal()) for secret in self.secrets))

        return Signed()
