"""What the URL of a page may look like, and the one way in which it is read.

Two programs that read a URL differently are how a check is passed around, so everything that some program reads in
another way is refused: users and passwords, backslashes, spaces, zones, numbers that are IPv4 addresses in another
spelling. The result is plain ASCII, and nothing behind this file parses it again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urljoin

import idna

from orchestrator.errors import StepRefused

if TYPE_CHECKING:
    from orchestrator.web.public_addresses import Address

LONGEST: Final = 2048

_URL: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9A-Fa-f:.]+\]|[^/?#:@\[\]]+)(?::(?P<port>[0-9]{0,5}))?"
    r"(?P<target>(?:/[^?#]*)?(?:\?[^#]*)?)(?:#.*)?",
    re.ASCII | re.IGNORECASE,
)
_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_LONGEST_HOST: Final = 253
_DEFAULT: Final = {"http": 80, "https": 443}

#: What a path or a query may hold as it is. A % is taken to be an escape.
_PLAIN: Final = "%/:?@!$&'()*+,;=-._~[]|"

#: Names that no resolver may be asked for: RFC 6761, section 6.4, and RFC 7686.
_NEVER_RESOLVED: Final = {"invalid", "onion"}

#: Ports of services that are no web servers and may act on lines of a request: https://fetch.spec.whatwg.org/#port-blocking.
_OTHER_SERVICES: Final = frozenset(
    (
        *(0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104),
        *(109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515),
        *(526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049),
        *(3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080),
    )
)


@dataclass(frozen=True, kw_only=True)
class PageURL:
    """A URL in parts. `host` is a name in lower case or an address without brackets; `target` is path and query."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def address(self) -> Address | None:
        """The IP address that the host is, or None if it is a name."""
        try:
            return IPv6Address(self.host) if ":" in self.host else IPv4Address(self.host)
        except AddressValueError:
            return None

    @property
    def origin(self) -> str:
        """The URL without its target."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _DEFAULT[self.scheme] else f":{self.port}"

        return f"{self.scheme}://{host}{port}"

    def __str__(self) -> str:
        """Return the URL as it is requested."""
        return self.origin + self.target


def page_url(text: str) -> PageURL:
    """Return the parts of this URL.

    Raises:
        StepRefused: it is no URL of a page; says why, and does not quote it.
    """
    if len(text) > LONGEST:
        raise StepRefused(f"the page's address is longer than {LONGEST} characters")

    if "\\" in text or not text.isprintable() or " " in text:
        raise StepRefused("the page's address holds a space, a backslash or a control character")

    match = _URL.fullmatch(text)

    if match is None:
        raise StepRefused(
            "the page's address must begin with http:// or https:// and a host, without a user or a password"
        )

    scheme = match["scheme"].lower()
    port = int(match["port"]) if match["port"] else _DEFAULT[scheme]

    if port > 65535 or port in _OTHER_SERVICES:  # noqa: PLR2004 - the largest port
        raise StepRefused(f"the page's address has a port at which no web server is expected: {port}")

    target = quote(match["target"], safe=_PLAIN)

    return PageURL(
        scheme=scheme, host=_host(match["host"]), port=port, target=target if target[:1] == "/" else f"/{target}"
    )


def redirected(url: PageURL, location: str) -> PageURL:
    """Return where a redirect leads to, a relative one too.

    Raises:
        StepRefused: not to a page.
    """
    if "\\" in location or not location.isprintable():
        raise StepRefused("the page redirects to an address that holds a backslash or a control character")

    try:
        joined = urljoin(str(url), location.strip(" "))
    except ValueError:
        raise StepRefused("the page redirects to an address that cannot be read") from None

    try:
        return page_url(joined.replace(" ", "%20"))
    except StepRefused as error:
        raise StepRefused(f"the page redirects elsewhere: {error}") from None


def _host(written: str) -> str:
    if written.startswith("["):
        try:
            return str(IPv6Address(written[1:-1]))
        except AddressValueError:
            raise StepRefused("the page's address has a host that is no valid IPv6 address") from None

    name = _ascii_name(written).removesuffix(".")
    labels = name.split(".")

    # Resolvers read `127.1`, `0x7f000001`, `0177.0.0.1` and `2130706433` as IPv4 addresses.
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return str(IPv4Address(name))
        except AddressValueError:
            raise StepRefused("the page's address has a host that is a number and no valid IPv4 address") from None

    if len(name) > _LONGEST_HOST or not all(map(_LABEL.fullmatch, labels)):
        raise StepRefused("the page's address has a host that is no valid name")

    if labels[-1] in _NEVER_RESOLVED:
        raise StepRefused(f"no page can be fetched from {name}: names under .{labels[-1]} do not resolve")

    return name


def _ascii_name(written: str) -> str:
    """Return a name in ASCII and lower case, other letters as browsers map them (UTS 46)."""
    if written.isascii():
        return written.lower()

    try:
        return idna.encode(written, uts46=True, std3_rules=True).decode().lower()
    except UnicodeError:
        # The library's own text quotes the name.
        raise StepRefused("the page's address has a host that is no valid name") from None
