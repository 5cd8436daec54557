"""What all signature schemes share: one spelling of every header, a time window, comparison in constant time.

Everything here works on the raw bytes. A header that could be read in two ways is refused: of a repeated header,
frameworks read the first value and webhook libraries the last.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

type Headers = Iterable[tuple[bytes, bytes]]

#: The most seconds that a timestamp may be in the past or in the future.
WINDOW: Final = 300

MAX_HEADER_BYTES: Final = 2048
MAX_SIGNATURES: Final = 16

_TIMESTAMP: Final = re.compile(rb"[1-9][0-9]{0,11}")


class SignatureRefused(ValueError):
    """The body is not signed, not by a known key, or not recently. The message quotes nothing of the request."""


class SignatureRepeated(SignatureRefused):
    """A header that the signature needs is repeated."""


class SignedNoText(SignatureRefused):
    """The signature is valid, but the body is not UTF-8, and the sender's official library signs only text."""


@dataclass(frozen=True, kw_only=True)
class Signed:
    """What a valid signature covers besides the body: the delivery's id and the timestamp, empty if it does not."""

    identity: bytes = b""
    moment: bytes = b""


class Scheme(Protocol):
    """One way to sign requests, with the secrets of one sender."""

    @property
    def challenge(self) -> str:
        """The `WWW-Authenticate` header of a 401 response."""

    @property
    def timestamped(self) -> bool:
        """Whether a captured request expires by itself, after `WINDOW` seconds."""

    def verify(self, headers: Headers, body: bytes, *, now: Callable[[], float]) -> Signed:
        """Return what is signed, or raise `SignatureRefused`. No input raises anything else.

        A valid signature does not prove that a request is not a replay: the caller must make sure that it has its
        effect only once.
        """


def single_headers(headers: Headers, names: set[bytes]) -> dict[bytes, bytes]:
    """Return the headers of these names, which are in lower case. Each must occur once and be short.

    Raises:
        SignatureRepeated: one is repeated, even if the values are equal.
        SignatureRefused: one is missing, or longer than `MAX_HEADER_BYTES`.
    """
    found: dict[bytes, bytes] = {}
    for raw_name, value in headers:
        name = raw_name.lower()
        if name not in names:
            continue

        if name in found:
            raise SignatureRepeated("a signature header is repeated")

        found[name] = value

    if len(found) != len(names):
        raise SignatureRefused("a signature header is missing")

    if any(len(value) > MAX_HEADER_BYTES for value in found.values()):
        raise SignatureRefused("a signature header is too long")

    return found


def check_moment(timestamp: bytes, now: Callable[[], float]) -> None:
    """Return if this is seconds since the epoch, in decimal without leading zeros, and within `WINDOW` of now."""
    if not _TIMESTAMP.fullmatch(timestamp):
        raise SignatureRefused("the timestamp is not a number of seconds")

    if not abs(now() - int(timestamp)) <= WINDOW:
        raise SignatureRefused(f"the timestamp is more than {WINDOW} seconds from now")


def check_text(body: bytes) -> None:
    """Return if the body is UTF-8: the official libraries of these senders sign and verify text.

    Call it only after the signature was verified: the sender is authentic then, and may learn what is wrong.
    """
    try:
        body.decode()
    except UnicodeDecodeError:
        raise SignedNoText("the signature is valid, but the body is not UTF-8") from None  # the original has the body


def check_any(candidates: Sequence[bytes], expected: Iterable[bytes]) -> None:
    """Return if one of the candidates is one of those expected; all are compared, each in constant time."""
    good = False
    for right in expected:
        for candidate in candidates:
            good |= hmac.compare_digest(right, candidate)

    if not good:
        raise SignatureRefused("no signature matches")
