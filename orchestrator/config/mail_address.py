"""How mail is sent, as `COUNTERSIGN_MAIL` says. Nothing is resolved or connected to here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from orchestrator.config.secret import Secret
from orchestrator.config.strict_urls import is_loopback, split_url, unquoted
from orchestrator.errors import ConfigurationError
from orchestrator.text.mailbox import domain_name, is_domain_name, mailbox

if TYPE_CHECKING:
    from pathlib import Path

_MAIL_PORTS: Final = {"smtp": 587, "smtps": 465}


@dataclass(frozen=True, kw_only=True)
class MailAddress:
    """How mail is sent. `none` means that nothing usable is configured, so a step that sends mail is refused.

    `sender` is an address as `mailbox` returns it, `hello` the name that the server gets in EHLO.
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


def mail_address(variable: str, value: str, *, public_host: str, ca_file: Path | None = None) -> MailAddress:
    """Return how mail is sent. `public_host` is the public URL's: printing links is refused unless it is loopback."""
    if value == "console:":
        if not is_loopback(public_host):
            raise ConfigurationError(
                variable, "must not print links, as console: does, when the public URL is not loopback"
            )

        return MailAddress(kind="console")

    if not value.startswith(("smtp://", "smtps://")):
        raise ConfigurationError(variable, "must be smtp://..., smtps://... or console:")

    parts = split_url(variable, value, _MAIL_PORTS)

    if parts.path not in {"", "/"} or "#" in value:
        raise ConfigurationError(variable, "must have nothing between the port and ?from=ADDRESS")

    sender, hello = _mail_options(variable, parts.query)
    user = password = None

    if "@" in parts.netloc:
        user, password = (unquoted(variable, part or "") for part in (parts.username, parts.password))

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
    options = {name: unquoted(variable, text) for name, _, text in pairs}

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
    """Return the name for EHLO: one with a dot if there is one, because relays expect that."""
    names = [name for name in (public_host, sender.rpartition("@")[2]) if is_domain_name(name)]
    dotted = [name for name in names if "." in name]

    return next(iter(dotted + names))
