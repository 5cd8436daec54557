"""What all signature schemes share: one spelling of every header, a window in time, comparison in constant time.

Everything here works on bytes as they came. A header that could be read in two ways is refused rather than read, since
frameworks take the first of a repeated header and webhook libraries the last.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

type Headers = Iterable[tuple[bytes, bytes]]

#: Seconds that a timestamp may lie in the past or the future.
WINDOW: Final = 300

MAX_HEADER_BYTES: Final = 2048
MAX_SIGNATURES: Final = 16

_TIMESTAMP: Final = re.compile(rb"[1-9][0-9]{0,11}")


class SignatureRefused(ValueError):
    """The body is not signed, or not by a key we know, or not now. Quotes nothing of the request."""


class SignatureRepeated(SignatureRefused):
    """A header that the signature needs is there more than once."""


class SignedNoText(SignatureRefused):
    """The signature holds, but the body is not UTF-8, and the sender's official library signs text only."""


@dataclass(frozen=True, kw_only=True)
class Signed:
    """What a good signature vouches for besides the body: the delivery's id and the moment, empty where it does not."""

    identity: bytes = b""
    moment: bytes = b""


class Scheme(Protocol):
    """One way to sign requests, with the secrets of one sender."""

    @property
    def challenge(self) -> str:
        """What an answer 401 says in `WWW-Authenticate`."""

    @property
    def timestamped(self) -> bool:
        """Whether a captured request stops to be good by itself, after `WINDOW` seconds."""

    def verify(self, headers: Headers, body: bytes, *, now: Callable[[], float]) -> Signed:
        """Return what is signed, or raise `SignatureRefused` whatever the bytes are.

        A signature does not prove that a request is not a replay: whoever calls this must settle once for other
        reasons.
        """


def single_headers(headers: Headers, names: set[bytes]) -> dict[bytes, bytes]:
    """Return the headers of these names, in lower case; each must be there once, and short.

    Raises:
        SignatureRepeated: one is there twice, even if both say the same.
        SignatureRefused: one is missing, or absurdly long.
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
    """Return if this is a number of seconds since the epoch in its one spelling, and now."""
    if not _TIMESTAMP.fullmatch(timestamp):
        raise SignatureRefused("the timestamp is not a number of seconds")

    if not abs(now() - int(timestamp)) <= WINDOW:
        raise SignatureRefused("the timestamp is not now")


def check_text(body: bytes) -> None:
    """Return if the body is UTF-8: the official libraries of these senders sign and verify text.

    To be called once the signature holds: whoever sent these bytes is known then, and is told what is wrong with them.
    """
    try:
        body.decode()
    except UnicodeDecodeError:
        raise SignedNoText("the signature holds, but the body is not UTF-8") from None  # the original carries the body


def check_any(candidates: Sequence[bytes], expected: Iterable[bytes]) -> None:
    """Return if one of the signatures given is one of those expected; all are compared, each in constant time."""
    good = False
    for right in expected:
        for candidate in candidates:
            good |= hmac.compare_digest(right, candidate)

    if not good:
        raise SignatureRefused("no signature matches")
