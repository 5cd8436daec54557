"""Turns the environment into one frozen object, checked as a whole before anything starts.

This is the only file that reads the process environment. It refuses to guess: an error names the variable and never its
value. Nothing named by a setting is opened or connected to here, except that the sources file must exist.
"""

from __future__ import annotations

import keyword
import os
import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, cast, get_args
from urllib.parse import urlsplit

from orchestrator.config.addresses import EngineAddress, engine_address, llm_address, public_url
from orchestrator.config.environment import Given, is_injected, read_file
from orchestrator.config.groups import DEFAULT_GROUP, is_group_name
from orchestrator.config.keys import Admission
from orchestrator.config.mail_address import NO_MAIL, MailAddress, mail_address
from orchestrator.config.strict_urls import is_host, is_loopback
from orchestrator.errors import ConfigurationError
from orchestrator.logs import Level
from orchestrator.tracing import is_wanted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.config.keys import ApiKey
    from orchestrator.config.secret import Secret
    from orchestrator.logs import Form

__all__ = ["EngineAddress", "MailAddress", "Settings", "group_name", "load_settings", "read_environment"]

_LARGEST_BODY: Final = 2**30
_SMALLEST_BODY: Final = 1024
_LONGEST_TIMEOUT: Final = 300
_LONGEST_NAME: Final = 100
_MOST_CACHED: Final = 100_000

#: The networks of this machine itself.
LOOPBACK: Final = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
_CIDR: Final = re.compile(r"[0-9A-Fa-f.:]+(?:/[0-9]{1,3})?")
_MAPPED: Final = IPv6Network("::ffff:0:0/96")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One process's configuration. Everything secret in it is masked when printed.

    `payload_keys` empty means that payloads are stored readable; `name` is the organisation that asks, one line of
    printable text; without `api_keys`, which are by name, nobody may use the workflow API; `proxies` are the networks
    whose `X-Forwarded-For` is believed; `max_body` is in bytes, `engine_timeout` in seconds; `port` 0 takes any free
    port. `databricks` holds the DATABRICKS_* variables, those of the .env file included.
    """

    engine: EngineAddress
    signing_keys: tuple[Secret, ...]
    public_url: str
    payload_keys: tuple[Secret, ...]
    name: str = "Countersign"
    api_keys: Mapping[str, ApiKey] = MappingProxyType({})
    proxies: tuple[IPv4Network | IPv6Network, ...] = LOOPBACK
    caller_secrets: tuple[Secret, ...] = ()
    sources: Path | None = None
    workflows: tuple[str, ...] = ("orchestrator.workflows",)
    group: str = "default"
    mail: MailAddress = NO_MAIL
    llm: Secret | None = None
    fetch_allow: tuple[IPv4Network | IPv6Network, ...] = ()
    log: Level = "info"
    log_form: Form = "text"
    host: str = "127.0.0.1"
    port: int = 8000
    max_body: int = 65536
    engine_timeout: float = 5.0
    cached_workflows: int = 1000
    resonate_token: Secret | None = None
    databricks: Mapping[str, Secret] = MappingProxyType({})
    traces: bool = False


def process_environment(environ: Mapping[str, str] | None = None) -> Mapping[str, str]:
    """Return the environment of this process, unless `environ` replaces it."""
    return os.environ if environ is None else environ


def read_environment(environ: Mapping[str, str] | None = None, directory: Path | None = None) -> dict[str, str]:
    """Return the variables of the directory's `.env` file and of the environment. The environment wins.

    Variables that a container platform injects are left out, so they never replace a setting of the file.

    Raises:
        ConfigurationError: `.env` cannot be read.
    """
    values = read_file((Path.cwd() if directory is None else directory) / ".env")
    given = process_environment(environ)
    values.update((name, value) for name, value in given.items() if not is_injected(name, value))

    return values


def load_settings(environ: Mapping[str, str] | None = None, directory: Path | None = None) -> Settings:
    """Return the settings, all of them checked.

    `environ` replaces the process environment and `directory` the working directory.

    Raises:
        ConfigurationError: the first fault, as one line that names the variable and never its value.
    """
    directory = Path.cwd() if directory is None else directory
    given = Given(read_environment(environ, directory))

    engine = engine_address(*given.pick("COUNTERSIGN_ENGINE", "sqlite:///.countersign/engine.db"), directory)
    base = public_url(*given.pick("COUNTERSIGN_PUBLIC_URL"))
    level, form = _log(*given.members("COUNTERSIGN_LOG", "info"))
    admission = Admission()

    return Settings(
        engine=engine,
        signing_keys=admission.signing_keys(*given.members("COUNTERSIGN_SIGNING_KEYS")),
        public_url=base,
        payload_keys=_payload_keys(given, engine, admission),
        caller_secrets=admission.caller_secrets(*given.members("COUNTERSIGN_CALLER_SECRETS", "")),
        resonate_token=admission.bearer(*given.pick("RESONATE_TOKEN")) if "RESONATE_TOKEN" in given else None,
        api_keys=MappingProxyType(admission.api_keys(*given.members("COUNTERSIGN_API_KEYS", ""))),
        name=_name(*given.pick("COUNTERSIGN_NAME", "Countersign")),
        proxies=_proxies(*given.members("COUNTERSIGN_PROXIES", "")) or LOOPBACK,
        sources=_sources(given, directory),
        workflows=_workflows(*given.members("COUNTERSIGN_WORKFLOWS", "orchestrator.workflows")),
        group=group_name(*given.pick("COUNTERSIGN_GROUP", DEFAULT_GROUP)),
        mail=_mail(given, directory, public_host=urlsplit(base).hostname or ""),
        llm=llm_address(*given.pick("COUNTERSIGN_LLM")) if "COUNTERSIGN_LLM" in given else None,
        fetch_allow=_networks(*given.members("COUNTERSIGN_FETCH_ALLOW", "")),
        log=level,
        log_form=form,
        host=_host(*given.pick("COUNTERSIGN_HOST", "127.0.0.1")),
        port=_whole(*given.pick("COUNTERSIGN_PORT", "8000"), 0, 65535),
        max_body=_whole(*given.pick("COUNTERSIGN_MAX_BODY", "65536"), _SMALLEST_BODY, _LARGEST_BODY),
        engine_timeout=_seconds(*given.pick("COUNTERSIGN_ENGINE_TIMEOUT", "5")),
        cached_workflows=_whole(*given.pick("COUNTERSIGN_CACHED_WORKFLOWS", "1000"), 0, _MOST_CACHED),
        databricks=MappingProxyType(given.of_others("DATABRICKS_")),
        # The library reads its variables itself, and knows no `.env`.
        traces=is_wanted(process_environment(environ)),
    )


def group_name(variable: str, value: str) -> str:
    """Return a worker group's name in lower case, however it was typed.

    Raises:
        ConfigurationError: it is not 1 to 64 letters, digits, - or _.
    """
    group = value.lower()

    if not (value.isascii() and is_group_name(group)):
        raise ConfigurationError(variable, "must be 1 to 64 letters, digits, - or _")

    return group


def _name(variable: str, value: str) -> str:
    if len(value) > _LONGEST_NAME:
        raise ConfigurationError(variable, f"must have at most {_LONGEST_NAME} characters")

    return value


def _payload_keys(given: Given, engine: EngineAddress, admission: Admission) -> tuple[Secret, ...]:
    if "COUNTERSIGN_PAYLOAD_KEYS" not in given and engine.embedded:
        return ()

    if "COUNTERSIGN_PAYLOAD_KEYS" not in given:
        raise ConfigurationError(
            "COUNTERSIGN_PAYLOAD_KEYS", "is required with this engine: keys, or off to store payloads readable"
        )

    variable, members = given.members("COUNTERSIGN_PAYLOAD_KEYS")

    if members == ["off"]:
        return ()

    if "off" in members:
        raise ConfigurationError(variable, "must be off alone, or keys alone")

    return admission.payload_keys(variable, members)


def _mail(given: Given, directory: Path, *, public_host: str) -> MailAddress:
    # Not set, and the URL is public: a service that sends no mail needs no server, and links must not be printed.
    if "COUNTERSIGN_MAIL" not in given and not is_loopback(public_host):
        return NO_MAIL

    trusted = given.of_others("SSL_CERT_FILE").get("SSL_CERT_FILE")
    ca_file = None if trusted is None else directory / trusted.text()

    return mail_address(*given.pick("COUNTERSIGN_MAIL", "console:"), public_host=public_host, ca_file=ca_file)


def _sources(given: Given, directory: Path) -> Path | None:
    if "COUNTERSIGN_SOURCES" not in given:
        return None

    variable, name = given.pick("COUNTERSIGN_SOURCES")
    file = directory / name

    try:
        found = file.is_file()
    except OSError:
        found = False

    if not found:
        raise ConfigurationError(variable, "names a file that does not exist")

    return file


def _workflows(variable: str, members: list[str]) -> tuple[str, ...]:
    for name in members:
        if not all(part.isidentifier() and not keyword.iskeyword(part) for part in name.split(".")):
            raise ConfigurationError(variable, "must hold names of Python modules")

    if len(set(members)) < len(members):
        raise ConfigurationError(variable, "holds a module twice")

    return tuple(members)


def _networks(variable: str, members: list[str]) -> tuple[IPv4Network | IPv6Network, ...]:
    reason = "must hold networks in CIDR notation, host bits zero"

    # The library also accepts masks (`/255.0.0.0`, `/0.255.255.255`) and zones (`fe80::%eth0`).
    if not all(map(_CIDR.fullmatch, members)):
        raise ConfigurationError(variable, reason)

    try:
        networks = tuple(ip_network(member) for member in members)
    except ValueError:
        raise ConfigurationError(variable, reason) from None

    if len(set(networks)) < len(networks):
        raise ConfigurationError(variable, "holds a network twice")

    return networks


def _proxies(variable: str, members: list[str]) -> tuple[IPv4Network | IPv6Network, ...]:
    """Return the networks, those of IPv4-mapped addresses as IPv4, because a peer's address is compared as IPv4."""
    return tuple(_unmapped(network) for network in _networks(variable, members))


def _unmapped(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    if isinstance(network, IPv4Network) or not network.subnet_of(_MAPPED):
        return network

    return IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - _MAPPED.prefixlen))


def _log(variable: str, members: list[str]) -> tuple[Level, Form]:
    level, *form = members

    if level not in get_args(Level) or form not in ([], ["json"]):
        raise ConfigurationError(variable, "must be debug, info or warning, with or without ,json behind it")

    return cast("Level", level), "json" if form else "text"


def _host(variable: str, value: str) -> str:
    if not is_host(value):
        raise ConfigurationError(variable, "must be an IP address or a host name")

    return value


def _whole(variable: str, value: str, least: int, most: int) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", value) or not least <= int(value) <= most:
        raise ConfigurationError(variable, f"must be a whole number from {least} to {most}")

    return int(value)


def _seconds(variable: str, value: str) -> float:
    if not re.fullmatch(r"[0-9]{1,10}(\.[0-9]{1,10})?", value) or not 0 < float(value) <= _LONGEST_TIMEOUT:
        raise ConfigurationError(variable, f"must be a number of seconds, more than 0 and at most {_LONGEST_TIMEOUT}")

    return float(value)
