"""Which address a request comes from: its peer's, or the one that trusted proxies report in `X-Forwarded-For`.

Everything that names a client (the limits, the log, the audit trail of approvals) uses the address that is determined
here. No other forwarding header is trusted: the scheme and the host of minted links come from the settings.
"""

from __future__ import annotations

import functools
import re
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Network, IPv6Network

    from starlette.types import ASGIApp, Receive, Scope, Send

#: How many proxies in a row are followed. Behind more of them, the last one that was read counts as the client.
MAX_HOPS: Final = 32

_HEADER: Final = b"x-forwarded-for"
_CACHED: Final = 1024

# An address alone, or with a port: `192.0.2.1:443`, `[2001:db8::1]:443`. No zone: it may hold any character.
_HOP: Final = re.compile(
    rb"\[([0-9A-Fa-f:.]{2,45})\](?::[0-9]{1,5})?|([0-9.]{7,15})(?::[0-9]{1,5})?|([0-9A-Fa-f:.]{2,45})"
)


def client_address(scope: Scope) -> str | None:
    """Return the address of a request's client, None if the server knows none (a Unix socket)."""
    client = scope.get("client")

    return client[0] if client else None


class ClientAddresses:
    """ASGI middleware that puts the client's address into `scope["client"]`; the port is 0 unless it is the peer's.

    `proxies` are the networks of trusted proxies. Each proxy appends the address that it was called from, so the list
    is read from its end: the first address that is not a trusted proxy's is the client. Nothing before it can be
    trusted: anybody may have written it. If a proxy reports something that is not an address, the proxy itself counts
    as the client.
    """

    def __init__(self, app: ASGIApp, proxies: Iterable[IPv4Network | IPv6Network]) -> None:
        self._app: Final = app
        self._proxies: Final = tuple(proxies)
        self._known: Final = functools.lru_cache(_CACHED)(self._read)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and (peer := client_address(scope)) is not None:
            address = self._client(peer, scope["headers"])

            if address != peer:
                scope["client"] = (address, 0)

        await self._app(scope, receive, send)

    def _client(self, peer: str, headers: Iterable[tuple[bytes, bytes]]) -> str:
        address, trusted = self._known(peer)

        if not trusted:
            return address

        values = [value for name, value in headers if name == _HEADER]

        for hop in reversed(b",".join(values).rsplit(b",", MAX_HOPS)[-MAX_HOPS:] if values else ()):
            written = _HOP.fullmatch(hop.strip(b" \t"))

            if written is None:
                return address

            reported, trusted = self._known(written[written.lastindex or 0].decode())

            if trusted is None:
                return address

            address = reported

            if not trusted:
                return address

        return address

    def _read(self, text: str) -> tuple[str, bool | None]:
        """Return an address in its usual spelling, and whether it is a trusted proxy's; None if it is no address."""
        try:
            address = ip_address(text.partition("%")[0])
        except ValueError:
            return text, None

        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped

        return str(address), any(address in network for network in self._proxies)
