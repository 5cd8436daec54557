"""The addresses of the public URL, the engine and the model. A mistyped one stops the start, not a wait later on.

Nothing is resolved or connected to here. Reasons never quote the address, because it may hold a password.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import unquote

from orchestrator.config.secret import Secret
from orchestrator.config.strict_urls import PLAIN_PATH, is_loopback, split_url
from orchestrator.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

_PLACE: Final = r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._%-]*)(?::[0-9]{1,5})?"
_POSTGRES: Final = re.compile(
    r"postgres(?:ql)?://(?=.)(?:[^@/?#]*@)?"
    rf"(?P<places>{_PLACE}(?:,{_PLACE})*)(?P<database>/[^@/?#]*)?(?:\?(?P<options>[^@#?]*))?"
)


@dataclass(frozen=True, kw_only=True)
class EngineAddress:
    """Where promises live. `display` is the address without credentials, safe to log."""

    kind: Literal["embedded", "memory", "server", "postgres"]
    url: Secret
    path: Path | None
    display: str

    @property
    def embedded(self) -> bool:
        """Whether the engine runs inside our process, so that its workers must run there too."""
        return self.kind in {"embedded", "memory"}


def public_url(variable: str, value: str) -> str:
    """Return the base of minted links, with the host in lower case and no slash at the end."""
    parts = split_url(variable, value, {"http", "https"})

    if "?" in value or "#" in value:
        raise ConfigurationError(variable, "must have no query and no fragment")

    if "@" in parts.netloc:
        raise ConfigurationError(variable, "must have no user and no password")

    path = parts.path.rstrip("/")

    # A client reads `%2e` as a dot, and drops such a segment from the path.
    if not PLAIN_PATH.fullmatch(path) or {".", ".."} & set(unquote(path).split("/")):
        raise ConfigurationError(variable, "must have a plain path, or none")

    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise ConfigurationError(variable, "must be https, unless its host is loopback")

    return f"{parts.scheme}://{parts.netloc.lower()}{path}"


def engine_address(variable: str, value: str, directory: Path) -> EngineAddress:
    """Return the engine's address; the path of an embedded one is taken relative to `directory`."""
    scheme, separator, _ = value.partition("://")

    if value == "memory://":
        return EngineAddress(kind="memory", url=Secret(value), path=None, display=value)

    if separator and scheme == "sqlite":
        path = _sqlite_path(variable, value, directory)

        return EngineAddress(kind="embedded", url=Secret(value), path=path, display=f"sqlite:///{path}")

    if separator and scheme in {"http", "https"}:
        parts = split_url(variable, value, {"http", "https"})

        if "@" in parts.netloc:
            raise ConfigurationError(variable, "must hold no credentials: a server's token goes in RESONATE_TOKEN")

        if parts.path not in {"", "/"} or "?" in value or "#" in value:
            raise ConfigurationError(variable, "must end after the server's host and port")

        url = f"{parts.scheme}://{parts.netloc.lower()}"

        return EngineAddress(kind="server", url=Secret(url), path=None, display=url)

    if separator and scheme in {"postgresql", "postgres"}:
        display = _postgres_display(variable, value)

        return EngineAddress(kind="postgres", url=Secret(value), path=None, display=display)

    raise ConfigurationError(variable, "must be sqlite:///PATH, memory://, http(s)://HOST:PORT or postgresql://...")


def llm_address(variable: str, value: str) -> Secret:
    """Return the base URL of an OpenAI-compatible API with its `?model=`; a key may precede the host."""
    parts = split_url(variable, value, {"http", "https"})
    name, _, model = parts.query.partition("=")

    if name != "model" or not model or "&" in model or "#" in value:
        raise ConfigurationError(variable, "must end in ?model=NAME, and nothing else")

    if not PLAIN_PATH.fullmatch(parts.path.rstrip("/")):
        raise ConfigurationError(variable, "must have a plain path, or none")

    return Secret(value)


def _sqlite_path(variable: str, value: str, directory: Path) -> Path:
    if not value.startswith("sqlite:///") or value == "sqlite:///":
        raise ConfigurationError(variable, "must name a file: sqlite:///PATH, with four slashes for an absolute path")

    text = value.removeprefix("sqlite:///")

    if "?" in text or "#" in text or text.startswith((":", "~")):
        raise ConfigurationError(variable, "must name a plain file: no query, no ~, and memory:// for none")

    if text.endswith("/") or text.rpartition("/")[2] in {".", ".."}:
        raise ConfigurationError(variable, "must name a file, not a directory")

    return directory / text


def _postgres_display(variable: str, value: str) -> str:
    """Return the address without user, password and options, but with a socket's directory.

    Several hosts are allowed, as in libpq. Only libpq checks the options.
    """
    match = _POSTGRES.fullmatch(value)

    if match is None:
        raise ConfigurationError(
            variable, "must be postgresql://USER:PASSWORD@HOST:PORT/DATABASE, special characters percent-encoded"
        )

    sockets = [option for option in (match["options"] or "").split("&") if option.startswith("host=")]

    return f"postgresql://{match['places']}{match['database'] or ''}{'?' if sockets else ''}{'&'.join(sockets)}"
