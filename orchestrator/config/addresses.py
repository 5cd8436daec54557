"""The addresses of the configuration: read strictly, so that a mistyped one stops the process and not a wait.

Nothing is resolved or connected to here. Reasons never quote the address: any of them may hold a password.

Long because each kind of address has a grammar of its own, and all of them share one way to refuse.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import SplitResult, unquote, urlsplit

from orchestrator.config.secret import Secret
from orchestrator.errors import ConfigurationError
from orchestrator.text.mailbox import domain_name, is_domain_name, mailbox

if TYPE_CHECKING:
    from collections.abc import Container
    from pathlib import Path

_HOST: Final = re.compile(r"(?=.{1,253}\Z)(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*")
_PATH: Final = re.compile(r"(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+)*")
_PLACE: Final = r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._%-]*)(?::[0-9]{1,5})?"
_POSTGRES: Final = re.compile(
    r"postgres(?:ql)?://(?=.)(?:[^@/?#]*@)?"
    rf"(?P<places>{_PLACE}(?:,{_PLACE})*)(?P<database>/[^@/?#]*)?(?:\?(?P<options>[^@#?]*))?"
)
_MAIL_PORTS: Final = {"smtp": 587, "smtps": 465}


@dataclass(frozen=True, kw_only=True)
class EngineAddress:
    """Where promises live. `display` is the address without credentials, fit for a log."""

    kind: Literal["embedded", "memory", "server", "postgres"]
    url: Secret
    path: Path | None
    display: str

    @property
    def embedded(self) -> bool:
        """Whether the engine lives in the process that names it, so that its workers must too."""
        return self.kind in {"embedded", "memory"}


@dataclass(frozen=True, kw_only=True)
class MailAddress:
    """How mail leaves. `none`: nothing is configured that may be used, so a step that sends mail is refused.

    `sender` is an address as `mailbox` returns it, `hello` the name that is said to the server in EHLO.
    """

    kind: Literal["none", "console", "smtp", "smtps"]
    host: str = ""
    port: int = 0
    user: str | None = None
    password: Secret | None = None
    sender: str = ""
    hello: str = ""
    ca_file: Path | None = None


NO_MAIL: Final = MailAddress(kind="none")


def public_url(variable: str, value: str) -> str:
    """Return the base of minted links, host in lower case and without a slash at its end."""
    parts = _split(variable, value, {"http", "https"})

    if "?" in value or "#" in value:
        raise ConfigurationError(variable, "must have no query and no fragment")

    if "@" in parts.netloc:
        raise ConfigurationError(variable, "must have no user and no password")

    path = parts.path.rstrip("/")

    # A client takes `%2e` for a dot, and leaves such a part of the path out.
    if not _PATH.fullmatch(path) or {".", ".."} & set(unquote(path).split("/")):
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
        parts = _split(variable, value, {"http", "https"})

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


def mail_address(variable: str, value: str, *, public_host: str, ca_file: Path | None = None) -> MailAddress:
    """Return how mail leaves. `public_host` is the public URL's: printing links is refused unless it is loopback."""
    if value == "console:":
        if not is_loopback(public_host):
            raise ConfigurationError(
                variable, "must not print links, as console: does, when the public URL is not loopback"
            )

        return MailAddress(kind="console")

    if not value.startswith(("smtp://", "smtps://")):
        raise ConfigurationError(variable, "must be smtp://..., smtps://... or console:")

    parts = _split(variable, value, _MAIL_PORTS)

    if parts.path not in {"", "/"} or "#" in value:
        raise ConfigurationError(variable, "must have nothing between the port and ?from=ADDRESS")

    sender, hello = _mail_options(variable, parts.query)
    user = password = None

    if "@" in parts.netloc:
        user, password = (_unquote(variable, part or "") for part in (parts.username, parts.password))

        if not user or not password:
            raise ConfigurationError(variable, "must have both a user and a password, or neither")

    return MailAddress(
        kind="smtp" if parts.scheme == "smtp" else "smtps",
        host=parts.hostname or "",
        port=parts.port or _MAIL_PORTS[parts.scheme],
        user=user,
        password=None if password is None else Secret(password),
        sender=sender,
        hello=hello or _own_name(public_host, sender),
        ca_file=ca_file,
    )


def _mail_options(variable: str, query: str) -> tuple[str, str | None]:
    """Return the sender's address, and the name to say in EHLO where one is given."""
    pairs = [option.partition("=") for option in query.split("&")]
    options = {name: _unquote(variable, text) for name, _, text in pairs}

    if "from" not in options or len(options) < len(pairs) or options.keys() - {"from", "hello"}:
        raise ConfigurationError(variable, "must end in ?from=ADDRESS, with &hello=NAME if you like, and nothing else")

    try:
        sender = mailbox(options["from"])
    except ValueError:
        raise ConfigurationError(variable, "must have a mail address in from=") from None

    try:
        return sender, domain_name(options["hello"]) if "hello" in options else None
    except ValueError:
        raise ConfigurationError(variable, "must have a host name in hello=") from None


def _own_name(public_host: str, sender: str) -> str:
    """Return what to say in EHLO: a name with a dot wherever there is one, since relays want that."""
    names = [name for name in (public_host, sender.rpartition("@")[2]) if is_domain_name(name)]
    dotted = [name for name in names if "." in name]

    return next(iter(dotted + names))


def llm_address(variable: str, value: str) -> Secret:
    """Return the base URL of an OpenAI-compatible API with its `?model=`; a key may stand before the host."""
    parts = _split(variable, value, {"http", "https"})
    name, _, model = parts.query.partition("=")

    if name != "model" or not model or "&" in model or "#" in value:
        raise ConfigurationError(variable, "must end in ?model=NAME, and nothing else")

    if not _PATH.fullmatch(parts.path.rstrip("/")):
        raise ConfigurationError(variable, "must have a plain path, or none")

    return Secret(value)


def is_loopback(host: str) -> bool:
    """True for localhost, 127.0.0.0/8 and ::1. No name is looked up."""
    if host == "localhost":
        return True

    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False

    return address.is_loopback and getattr(address, "ipv4_mapped", None) is None


def is_host(text: str) -> bool:
    """True for an IP address without brackets, or a host name. Neither needs to exist."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        # A name whose last label is a number would be read as an IPv4 address by some, and as a name by others.
        return _HOST.fullmatch(text) is not None and not text.rpartition(".")[2].isdigit()

    return "%" not in str(address)


def _split(variable: str, value: str, schemes: Container[str]) -> SplitResult:
    """Return the parts of a URL with a sound scheme, host and port."""
    if not value.isascii() or re.search(r"[\s\\\"<>^`{|}]", value):
        raise ConfigurationError(variable, "must be an absolute URL of plain characters")

    parts = _parts(value)

    if parts is None:
        raise ConfigurationError(variable, "must be an absolute URL with a sound host and port")

    if parts.scheme not in schemes:
        raise ConfigurationError(variable, "must be an absolute URL with a scheme that is supported")

    place = parts.netloc.rpartition("@")[2]

    if not is_host(parts.hostname or "") or place.startswith("[") != (":" in (parts.hostname or "")):
        raise ConfigurationError(variable, "must have a sound host")

    if parts.port == 0 or place.endswith(":"):
        raise ConfigurationError(variable, "must have a port from 1 to 65535, or none")

    return parts


def _parts(value: str) -> SplitResult | None:
    """Return a URL's parts, None where it has none. The library's own message quotes the URL, so it ends here."""
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        return None

    return parts


def _unquote(variable: str, text: str) -> str:
    """Return percent-decoded text that is UTF-8 and printable."""
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ConfigurationError(variable, "must be percent-encoded UTF-8") from None

    if not decoded.isprintable():
        raise ConfigurationError(variable, "must hold no control characters, percent-encoded ones included")

    return decoded


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
    """Return the address without user, password and options; a socket's directory stays.

    Several hosts are allowed, as libpq does. What the options say is libpq's to judge.
    """
    match = _POSTGRES.fullmatch(value)

    if match is None:
        raise ConfigurationError(
            variable, "must be postgresql://USER:PASSWORD@HOST:PORT/DATABASE, special characters percent-encoded"
        )

    sockets = [option for option in (match["options"] or "").split("&") if option.startswith("host=")]

    return f"postgresql://{match['places']}{match['database'] or ''}{'?' if sockets else ''}{'&'.join(sockets)}"
