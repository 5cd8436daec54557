"""What may serve as a key: long enough, with only one spelling, used once, and not published.

Everything secret in the configuration passes through one `Admission`, so that a key is not used for two purposes. It
cannot know whether somebody else has the key too. It refuses what is evidently not random, and what this repository has
published.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, cast, get_args

from orchestrator.config.secret import Secret
from orchestrator.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

SIGNING_KEY_BYTES: Final = 32
PAYLOAD_KEY_BYTES: Final = 32
CALLER_SECRET_BYTES: Final = range(24, 65)
CALLER_SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - every one of them begins with it
SENDER_SECRET_CHARACTERS: Final = 16

#: The SHA-256 of every key that this repository's documents and tests print, in hex, one per line.
PUBLISHED: Final = Path(__file__).with_name("published.sha256")

#: Words that people leave in a template. The longer ones are looked for inside a key too: fewer than one in a million
#: random keys contains one.
_PLACEHOLDERS: Final = frozenset(
    """
    apikey api-key change changeit changeme change-me changethis default dummy example fixme foobar insert keyhere none
    notasecret null off password placeholder replace replaceme replace-me sample secret secretkey signingkey todo xxx
    xxxx xxxxxxxx yourkey yourkeyhere your-key-here yoursecret yourtoken
    """.split()  # noqa: SIM905 - words are read best as words
)
_WORD_INSIDE: Final = 6
_FEW_STEPS: Final = (-1, 0, 1)

#: What the holder of an API key may do, each including those before it: look, start workflows, everything.
Role = Literal["read", "start", "operate"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)

# `name:sha256-hex` or `name:sha256-hex:role`. Names appear in logs, so they hold no space and nothing unprintable.
_API_KEY: Final = re.compile(rf"([A-Za-z0-9._-]{{1,64}}):([0-9A-Fa-f]{{64}})(?::({'|'.join(ROLES)}))?", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """An API key as the service knows it: the SHA-256 of its text, and what its holder may do."""

    digest: bytes = field(repr=False)
    role: Role = "operate"


class Admission:
    """Admits keys one after another and remembers their digests, so that no key is admitted twice.

    Each method returns the keys in the order given, or raises ConfigurationError naming the variable and the position.
    """

    def __init__(self, published: frozenset[str] | None = None) -> None:
        self._published: Final = published_digests() if published is None else published
        self._seen: Final[set[bytes]] = set()

    def signing_keys(self, variable: str, members: Sequence[str]) -> tuple[Secret, ...]:
        """Return token signing keys: unpadded base64url, 32 bytes at least."""
        keys = []

        for position, spelling in enumerate(members, 1):
            material = _base64url(spelling)

            if material is None:
                raise ConfigurationError(variable, f"must hold unpadded base64url, which entry {position} is not")

            if len(material) < SIGNING_KEY_BYTES:
                raise ConfigurationError(variable, f"is too short: entry {position} has fewer than 32 bytes")

            keys.append(self._admit(variable, position, spelling, material))

        return tuple(keys)

    def payload_keys(self, variable: str, members: Sequence[str]) -> tuple[Secret, ...]:
        """Return payload encryption keys: base64url of exactly 32 bytes, padded or not."""
        keys = []

        for position, spelling in enumerate(members, 1):
            bare = spelling.removesuffix("=")
            material = _base64url(bare)

            if material is None or len(material) != PAYLOAD_KEY_BYTES:
                raise ConfigurationError(
                    variable, f"must hold base64url of exactly 32 bytes, which entry {position} is not"
                )

            keys.append(self._admit(variable, position, bare, material))

        return tuple(keys)

    def caller_secrets(self, variable: str, members: Sequence[str]) -> tuple[Secret, ...]:
        """Return Standard Webhooks secrets, decoded: `whsec_` and standard base64 of 24 to 64 bytes."""
        keys = []

        for position, spelling in enumerate(members, 1):
            material = _base64(spelling.removeprefix(CALLER_SECRET_PREFIX))

            if not spelling.startswith(CALLER_SECRET_PREFIX) or material is None:
                raise ConfigurationError(
                    variable, f"must hold whsec_ followed by standard base64, which entry {position} is not"
                )

            if len(material) not in CALLER_SECRET_BYTES:
                raise ConfigurationError(variable, f"must hold 24 to 64 bytes, which entry {position} does not")

            keys.append(self._admit(variable, position, spelling, material))

        return tuple(keys)

    def api_keys(self, variable: str, members: Sequence[str]) -> Mapping[str, ApiKey]:
        """Return API keys by name from `name:hex[:role]`. Call it last, because it compares them with all others.

        Only the digest is known here, so a short key goes unnoticed unless it is a placeholder.
        """
        keys: dict[str, ApiKey] = {}

        for position, entry in enumerate(members, 1):
            parts = _API_KEY.fullmatch(entry)

            if parts is None:
                raise ConfigurationError(
                    variable,
                    f"must hold name:sha256-hex-of-the-key, with :{', :'.join(ROLES)} or nothing behind it, "
                    f"which entry {position} is not",
                )

            name, spelling, role = parts.groups("operate")

            if name in keys:
                raise ConfigurationError(variable, f"gives a name twice, in entry {position}")

            digest = bytes.fromhex(spelling)

            if digest in _placeholder_digests():
                raise ConfigurationError(variable, f"holds a placeholder: entry {position} is the digest of one")

            if digest.hex() in self._published:
                raise ConfigurationError(variable, f"holds a published key: entry {position} is the digest of one")

            if digest in self._seen:
                raise ConfigurationError(variable, f"repeats a key: entry {position} is in use already")

            self._admit(variable, position, spelling.lower(), digest)
            self._seen.add(digest)
            keys[name] = ApiKey(digest=digest, role=cast("Role", role))

        return keys

    def bearer(self, variable: str, token: str) -> Secret:
        """Return a bearer token that somebody else minted: of any length and form, but not a placeholder."""
        if token.lower() in _PLACEHOLDERS:
            raise ConfigurationError(variable, "holds a placeholder, not a token")

        return self._remember(variable, "", token, token.encode())

    def sender_secret(self, variable: str, text: str) -> Secret:
        """Return a secret that a third party signs with, or a password: text, 16 characters at least."""
        if len(text) < SENDER_SECRET_CHARACTERS:
            raise ConfigurationError(variable, f"is too short: it has fewer than {SENDER_SECRET_CHARACTERS} characters")

        if is_placeholder(text):
            raise ConfigurationError(variable, "holds a placeholder, not a random secret")

        return self._remember(variable, "", text, text.encode())

    def reserve(self, keys: Iterable[Secret], digests: Iterable[bytes] = ()) -> None:
        """Remember keys that were admitted elsewhere, in every spelling, and digests of keys."""
        for material in (key.reveal() for key in keys):
            standard = base64.b64encode(material)
            url = base64.urlsafe_b64encode(material)
            spellings = (material, standard, CALLER_SECRET_PREFIX.encode() + standard, url, url.rstrip(b"="))
            self._seen.update(hashlib.sha256(spelling).digest() for spelling in spellings)

        self._seen.update(digests)

    def _admit(self, variable: str, position: int, spelling: str, material: bytes) -> Secret:
        if is_placeholder(spelling) or is_placeholder(material.decode("latin-1")):
            raise ConfigurationError(variable, f"holds a placeholder, not a random key: entry {position}")

        return self._remember(variable, f": entry {position}", spelling, material)

    def _remember(self, variable: str, where: str, spelling: str, material: bytes) -> Secret:
        digests = {hashlib.sha256(spelling.encode()).digest(), hashlib.sha256(material).digest()}

        if any(digest.hex() in self._published for digest in digests):
            raise ConfigurationError(variable, f"holds a published key, known to everybody{where}")

        if not self._seen.isdisjoint(digests):
            raise ConfigurationError(variable, f"repeats a key that is in use already{where}")

        self._seen.update(digests)

        return Secret(material)


def is_placeholder(text: str) -> bool:
    """True for a key that is evidently not random: template words, repetition, counting. A random one passes."""
    letters = re.sub(r"[^a-z0-9]", "", text.lower())

    if any(word in letters for word in _PLACEHOLDERS if len(word) >= _WORD_INSIDE):
        return True

    if any(text == (text[:period] * len(text))[: len(text)] for period in range(1, len(text) // 2 + 1)):
        return True

    steps = [ord(after) - ord(before) for before, after in pairwise(text)]
    small = sum(step in _FEW_STEPS for step in steps)

    return max([small, *map(steps.count, steps)]) * 4 >= len(steps) * 3


def published_digests(file: Path = PUBLISHED) -> frozenset[str]:
    """Return the digests of published keys, from a file with one in hex per line and comments after `#`."""
    lines = (line.partition("#")[0].strip() for line in file.read_text("ascii").splitlines())

    return frozenset(line for line in lines if line)


def _placeholder_digests() -> frozenset[bytes]:
    return frozenset(hashlib.sha256(word.encode()).digest() for word in ("", *_PLACEHOLDERS))


def _base64url(text: str) -> bytes | None:
    """Decode unpadded base64url. Return None for other text, and for a spelling that is not the canonical one."""
    if not re.fullmatch(r"[A-Za-z0-9_-]*", text):
        return None

    try:
        decoded = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        return None

    return decoded if base64.urlsafe_b64encode(decoded).rstrip(b"=").decode() == text else None


def _base64(text: str) -> bytes | None:
    """Decode padded standard base64. Return None for other text, and for a spelling that is not the canonical one."""
    try:
        decoded = base64.b64decode(text.encode(), validate=True)
    except binascii.Error:
        return None

    return decoded if base64.b64encode(decoded).decode() == text else None
