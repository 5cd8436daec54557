"""The secrets of webhook senders: read from where the sources file says, and checked for strength.

Each secret is used by one source, once: if two sources shared one, a delivery to the first could be replayed to the
second. A secret may not be one of the service's own keys either.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from orchestrator.config.environment import PREFIX, Given
from orchestrator.config.keys import CALLER_SECRET_PREFIX, Admission
from orchestrator.config.secret import Secret
from orchestrator.config.settings import read_environment
from orchestrator.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from orchestrator.config.settings import Settings

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}", re.ASCII)
_LARGEST_FILE: Final = 4096


class SenderSecrets:
    """Reads and checks the secrets that `env:NAME` and `file:PATH` refer to.

    A path is relative to `folder`, the folder of the sources file. The methods raise ConfigurationError, which names
    the variable, or COUNTERSIGN_SOURCES for a file, and never the secret.
    """

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        *,
        environ: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> None:
        self._folder = folder
        self._given = Given(read_environment(environ, directory))
        self._admission = Admission()
        bearer = () if settings.resonate_token is None else (settings.resonate_token,)
        keys = (*settings.signing_keys, *settings.payload_keys, *settings.caller_secrets, *bearer)
        self._admission.reserve(keys, (key.digest for key in settings.api_keys.values()))

    def text(self, source: str, reference: str) -> Secret:
        """Return a secret whose text is the key."""
        return self._admission.sender_secret(*self._read(source, reference))

    def stripe(self, source: str, reference: str) -> Secret:
        """Return a Stripe endpoint secret, including its prefix."""
        variable, text = self._read(source, reference)

        if not text.startswith(CALLER_SECRET_PREFIX):
            raise ConfigurationError(variable, f"must begin with whsec_, as Stripe's secrets do (source {source})")

        return self._admission.sender_secret(variable, text)

    def standard(self, source: str, reference: str) -> Secret:
        """Return a Standard Webhooks secret, decoded."""
        variable, text = self._read(source, reference)

        return self._admission.caller_secrets(variable, [text])[0]

    def password(self, source: str, reference: str) -> Secret:
        """Return `user:password`."""
        variable, text = self._read(source, reference)
        user, colon, password = text.partition(":")

        if not user or not colon:
            raise ConfigurationError(variable, f"must be user:password (source {source})")

        self._admission.sender_secret(variable, password)

        return Secret(text)

    def _read(self, source: str, reference: str) -> tuple[str, str]:
        """Return the variable that an error must name, and the secret's text."""
        kind, _, name = reference.partition(":")

        if kind == "env" and _VARIABLE.fullmatch(name) and not name.startswith(PREFIX):
            return self._given.pick(name)

        if kind == "file" and name and "\0" not in name:
            return "COUNTERSIGN_SOURCES", self._content(source, name)

        raise ConfigurationError(
            "COUNTERSIGN_SOURCES",
            f"names a file whose source {source} has a secret that is neither env:NAME nor file:PATH",
        )

    def _content(self, source: str, name: str) -> str:
        place = f"names a file whose source {source} has a secret in a file that"

        try:
            with (self._folder / name).open("rb") as stream:
                data = stream.read(_LARGEST_FILE + 1)

        except OSError as error:
            raise ConfigurationError("COUNTERSIGN_SOURCES", f"{place} cannot be read: {error.strerror}") from None

        text = data.decode("utf-8", errors="replace").strip()

        if not text or len(data) > _LARGEST_FILE or not text.isprintable() or "\ufffd" in text:
            raise ConfigurationError("COUNTERSIGN_SOURCES", f"{place} is empty, too large or not one line of text")

        return text
