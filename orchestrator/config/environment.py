"""The variables of the environment: known names, with values that are printable and not empty.

What a value means is decided in `settings`. An unknown `COUNTERSIGN_*` name is refused, because a misspelt setting
would otherwise silently have its default.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Final

from dotenv.parser import parse_stream

from orchestrator.config.secret import Secret
from orchestrator.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: All variables with our prefix. Any other name with it is refused as misspelt.
PREFIX: Final = "COUNTERSIGN_"
VARIABLES: Final = tuple(
    PREFIX + name
    for name in (
        *("ENGINE", "SIGNING_KEYS", "PUBLIC_URL", "PAYLOAD_KEYS", "API_KEYS", "CALLER_SECRETS", "SOURCES", "WORKFLOWS"),
        *("NAME", "GROUP", "MAIL", "LLM", "FETCH_ALLOW", "LOG", "HOST", "PORT", "MAX_BODY", "ENGINE_TIMEOUT"),
        *("PROXIES", "CACHED_WORKFLOWS"),
    )
)
_SHOWN: Final = 64

# Kubernetes describes every service of a namespace to all its containers in these variables, and Docker's links do the
# same: https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables. A service that is called
# `countersign` or `countersign-web` gives names that begin like ours.
_SERVICE: Final = r"COUNTERSIGN(?:_[A-Z0-9_]+)?"
_INJECTED: Final = re.compile(
    rf"{_SERVICE}_SERVICE_HOST|{_SERVICE}_SERVICE_PORT(?:_[A-Z0-9_]+)?"
    rf"|{_SERVICE}_PORT_[0-9]{{1,5}}_(?:TCP|UDP|SCTP)(?:_(?:ADDR|PORT|PROTO))?"
)
_INJECTED_PORT: Final = re.compile(rf"{_SERVICE}_PORT")
_ENDPOINT: Final = re.compile(r"(?:tcp|udp|sctp)://\S+:[0-9]{1,5}")


class Given:
    """Values by name, read only. Its methods raise ConfigurationError, which never holds a value."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values: Final = values

        for name in sorted(values):
            if name.upper().startswith(PREFIX) and name not in VARIABLES:
                raise ConfigurationError(_shown(name), f"is not a setting{_suggestion(name)}")

    def __contains__(self, variable: str) -> bool:
        return variable in self._values

    def pick(self, variable: str, default: str | None = None) -> tuple[str, str]:
        """Return the variable's name and its value, or the default if it is not set. Without a default it is required.

        White space around the value is removed: a secret from a file or a secret store may end with a newline.
        """
        value = self._values.get(variable, default)

        if value is None:
            raise ConfigurationError(variable, "is required")

        value = value.strip()

        if variable in self._values and not value:
            raise ConfigurationError(variable, "is empty: give it a value or leave it out")

        if not value.isprintable():
            raise ConfigurationError(variable, "must hold no control characters")

        return variable, value

    def members(self, variable: str, default: str | None = None) -> tuple[str, list[str]]:
        """Return the variable's name and the members of its comma-separated value; an empty default has none."""
        _, value = self.pick(variable, default)
        members = [member.strip() for member in value.split(",")] if value else []

        if "" in members:
            raise ConfigurationError(variable, "has a blank entry between its commas")

        return variable, members

    def of_others(self, prefix: str) -> dict[str, Secret]:
        """Return the variables with this prefix that other programs read. Like them, it ignores empty values."""
        names = [name for name, value in self._values.items() if name.startswith(prefix) and value]

        return {name: Secret(self.pick(name)[1]) for name in names}


def is_injected(name: str, value: str) -> bool:
    """Return whether a container platform set this variable to describe a service, so that it is not a setting.

    `COUNTERSIGN_PORT` is judged by its value: `tcp://10.0.0.1:8000` describes a service, `8000` is a port to listen on.
    """
    if _INJECTED.fullmatch(name):
        return True

    return _INJECTED_PORT.fullmatch(name) is not None and _ENDPOINT.fullmatch(value) is not None


def read_file(file: Path) -> dict[str, str]:
    """Return the variables of a `.env` file, or none if there is no such file or it is a directory.

    Nothing is interpolated, so a `$` in a password stays one.

    Raises:
        ConfigurationError: it names `.env`, which is unreadable, not UTF-8, or has a line that is not a statement; or
            one of our variables, which the file sets twice.
    """
    try:
        with file.open(encoding="utf-8-sig") as stream:
            statements = list(parse_stream(stream))

    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return {}
    except UnicodeDecodeError:
        raise ConfigurationError(".env", "must be UTF-8") from None
    except OSError as error:
        raise ConfigurationError(".env", f"cannot be read: {error.strerror}") from None

    values: dict[str, str] = {}

    for statement in statements:
        if statement.error:
            raise ConfigurationError(".env", f"holds no setting in line {statement.original.line}")

        if statement.key in values and statement.key in VARIABLES:
            raise ConfigurationError(statement.key, "is set twice in .env")

        if statement.key is not None:
            values[statement.key] = statement.value or ""

    return values


def _shown(name: str) -> str:
    return name[:_SHOWN] if name.isprintable() else ascii(name[:_SHOWN])


def _suggestion(name: str) -> str:
    known = [variable.removeprefix(PREFIX) for variable in VARIABLES]
    near = difflib.get_close_matches(name.upper().removeprefix(PREFIX), known, n=1)

    return f"; did you mean {PREFIX}{near[0]}?" if near else ""
