"""URLs and hosts of the configuration, read strictly. Reasons never quote a URL, because it may hold a password."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, unquote, urlsplit

from orchestrator.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Container

#: A path of plain characters, or none: no slash at its end, and no empty part.
PLAIN_PATH: Final = re.compile(r"(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+)*")

_HOST: Final = re.compile(r"(?=.{1,253}\Z)(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*")


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
        # Some programs would read a name whose last label is a number as an IPv4 address, and others as a name.
        return _HOST.fullmatch(text) is not None and not text.rpartition(".")[2].isdigit()

    return "%" not in str(address)


def split_url(variable: str, value: str, schemes: Container[str]) -> SplitResult:
    """Return the parts of a URL with a supported scheme and a valid host and port."""
    if not value.isascii() or re.search(r"[\s\\\"<>^`{|}]", value):
        raise ConfigurationError(variable, "must be an absolute URL of plain characters")

    parts = _parts(value)

    if parts is None:
        raise ConfigurationError(variable, "must be an absolute URL with a valid host and port")

    if parts.scheme not in schemes:
        raise ConfigurationError(variable, "must be an absolute URL with a scheme that is supported")

    place = parts.netloc.rpartition("@")[2]

    if not is_host(parts.hostname or "") or place.startswith("[") != (":" in (parts.hostname or "")):
        raise ConfigurationError(variable, "must have a valid host")

    if parts.port == 0 or place.endswith(":"):
        raise ConfigurationError(variable, "must have a port from 1 to 65535, or none")

    return parts


def _parts(value: str) -> SplitResult | None:
    """Return a URL's parts, or None if it is not a URL. The library's message quotes the URL, so it is dropped."""
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        return None

    return parts


def unquoted(variable: str, text: str) -> str:
    """Return the percent-decoded text, which must be UTF-8 and printable."""
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ConfigurationError(variable, "must be percent-encoded UTF-8") from None

    if not decoded.isprintable():
        raise ConfigurationError(variable, "must hold no control characters, percent-encoded ones included")

    return decoded
