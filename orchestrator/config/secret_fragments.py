"""Cuts pieces of known secrets out of a text, for programs that show people what libraries and servers say.

A library may quote a part of what it was given, or the one character that it could not encode, so looking for whole
secrets is not enough. This may cut out more than necessary: a password of ordinary words hides these words elsewhere.
"""

from __future__ import annotations

import re
from itertools import groupby
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orchestrator.config.secret import Secret
    from orchestrator.config.settings import Settings

#: Pieces of this many characters are hidden; of shorter ones, only characters beyond ASCII.
_SHORTEST: Final = 4

_CUT: Final = "[...]"
#: Options of an address that say where or how to connect, and are needed to understand a failure. Any other may hold a
#: secret.
_NO_SECRETS: Final = frozenset(
    {"host", "hostaddr", "port", "dbname", "user", "application_name", "model"}
    | {"sslmode", "sslrootcert", "sslcert", "sslkey", "target_session_attrs"}
)

_SECRET_NAME: Final = re.compile(r"token|secret|password|credential|key", re.IGNORECASE)

# A codec's error names one character of what it could not convert.
_CODEC: Final = re.compile(r"can't (?:en|de)code .{0,80}")


class Fragments:
    """The pieces of these secrets that must not be shown."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._pieces: set[str] = set()
        self._odd: set[str] = set()

        for secret in secrets:
            for spelling in {secret, ascii(secret)[1:-1]}:
                self._pieces.update(spelling[at : at + _SHORTEST] for at in range(len(spelling) - _SHORTEST + 1))

            self._odd.update(character for character in secret if not character.isascii())

    def cut_from(self, text: str) -> str:
        """Return the text with every piece of a secret replaced."""
        text = _CODEC.sub("can't convert", text)
        hidden = [character in self._odd for character in text]

        for at in range(len(text) - _SHORTEST + 1):
            if text[at : at + _SHORTEST] in self._pieces:
                hidden[at : at + _SHORTEST] = [True] * _SHORTEST

        runs = groupby(zip(text, hidden, strict=True), key=lambda pair: pair[1])

        return "".join(_CUT if cut else "".join(character for character, _ in run) for cut, run in runs)


def credentials(settings: Settings) -> Iterator[str]:
    """Yield every password, token and key of the settings that a library is given, as text."""
    passwords = (settings.mail.password, settings.resonate_token)
    yield from (secret.text() for secret in passwords if secret is not None)
    yield from _in_url(settings.engine.url)

    if settings.llm is not None:
        yield from _in_url(settings.llm)

    for name, value in settings.databricks.items():
        yield from [value.text()] if _SECRET_NAME.search(name) else _in_url(value)


def _in_url(url: Secret) -> Iterator[str]:
    """Yield what is secret in a URL, before its host or in its query, as written and decoded."""
    try:
        parts = urlsplit(url.text())
    except ValueError:
        return

    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    # A key may be in the place of the user. If there is a password, the user is only a name.
    written = [password or user, *(value for name, value in parse_qsl(parts.query) if name not in _NO_SECRETS)]
    yield from (spelling for value in filter(None, written) for spelling in (value, unquote(value)))
