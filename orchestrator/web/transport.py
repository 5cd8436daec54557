"""One request for a page: over a connection to an address that was checked, with limits of size and silence.

The address that is checked is the one that is connected to. A name is looked up once for a request, each of its
addresses is checked, and the HTTP client gets those addresses and no way to look the name up again; the socket is made
by code that checks again. TLS and the Host header have the name. Proxies, cookies and credentials of the environment
are never used, and no redirect is followed here. Each request has a session of its own, so nothing of one is sent with
the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from orchestrator.errors import StepRefused, StepUnavailable
from orchestrator.web.public_addresses import is_allowed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from aiohappyeyeballs import AddrInfoType

    from orchestrator.web.page_urls import PageURL
    from orchestrator.web.public_addresses import Address, Network

logger = logging.getLogger(__name__)

#: Seconds to connect, and to wait for the next bytes.
_CONNECT: Final = 10.0
_SILENCE: Final = 15.0

_CHUNK: Final = 64 * 1024
_HEADERS: Final = {
    "Accept": "text/html,application/xhtml+xml,text/plain;q=0.9,*/*;q=0.1",
    "Accept-Encoding": "gzip",
    "User-Agent": "Countersign (fetches single pages for their readers)",
}

#: What a resolver says of a name that does not exist, or has no address.
_UNKNOWN: Final = {
    getattr(socket, name) for name in ("EAI_NONAME", "EAI_NODATA", "EAI_ADDRFAMILY") if hasattr(socket, name)
}

type Lookup = Callable[[str, int], Awaitable[Sequence[Address]]]


@dataclass(frozen=True, kw_only=True)
class Response:
    """What a server answered. `body` is decompressed, and empty unless the status is 200."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


async def look_up(host: str, port: int) -> Sequence[Address]:
    """Return all addresses of a name, as the system's resolver gives them.

    Raises:
        OSError: it has none, or the resolver did not answer.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)

    return [ip_address(str(entry[4][0])) for entry in found]


@dataclass(frozen=True, kw_only=True)
class Transport:
    """Makes requests to public addresses and to the networks in `allowed`; `largest` is in bytes."""

    allowed: tuple[Network, ...] = ()
    largest: int = 5 * 1024 * 1024
    look_up: Lookup = look_up
    trust: Callable[[], ssl.SSLContext] = ssl.create_default_context
    open_socket: Callable[[AddrInfoType], socket.socket] = field(default=lambda info: socket.socket(*info[:3]))

    async def get(self, url: PageURL) -> Response:
        """Return the response to a GET request.

        How long it takes in all is not limited.

        Raises:
            StepRefused: the name does not resolve, an address of it is not allowed, the certificate is not valid, or
                the body is too large or compressed in another way than was asked for.
            StepUnavailable: there was no response, or not all of it.
        """
        addresses = await self._addresses(url)
        trust = await asyncio.to_thread(self.trust) if url.scheme == "https" else None

        try:
            async with self._session(addresses, trust) as session:
                address = URL(str(url), encoded=True)

                async with session.get(address, allow_redirects=False) as response:
                    headers = dict(response.headers.items())
                    body = await self._body(response) if response.status == 200 else b""  # noqa: PLR2004

                    return Response(status=response.status, headers=headers, body=body)

        except aiohttp.ClientConnectorCertificateError as error:
            raise StepRefused(f"{url.host} has no valid certificate") from error
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, _NotAllowedError):
                raise StepRefused(_not_allowed(url)) from error

            raise StepUnavailable(f"{url.host} could not be reached") from error
        except (aiohttp.ServerTimeoutError, TimeoutError) as error:
            raise StepUnavailable(f"{url.host} did not answer in time") from error
        except (aiohttp.ClientError, OSError) as error:
            raise StepUnavailable(f"{url.host} did not answer as a web server does") from error

    async def _addresses(self, url: PageURL) -> Sequence[Address]:
        if url.address is not None:
            addresses: Sequence[Address] = [url.address]
        else:
            try:
                addresses = await self.look_up(url.host, url.port)
            except socket.gaierror as error:
                if error.errno in _UNKNOWN:
                    raise StepRefused(f"{url.host} does not resolve: there is no such host") from error

                raise StepUnavailable(f"the name {url.host} could not be looked up") from error
            except (OSError, UnicodeError) as error:
                raise StepUnavailable(f"the name {url.host} could not be looked up") from error

        for address in addresses:
            if not is_allowed(address, self.allowed):
                # Whoever starts workflows need not know what names inside of our network resolve to.
                logger.info("no page is fetched from %s: its address %s is not public", url.host, address)
                raise StepRefused(_not_allowed(url))

        if not addresses:
            raise StepRefused(f"{url.host} does not resolve: it has no address")

        return list(dict.fromkeys(addresses))

    @contextlib.asynccontextmanager
    async def _session(
        self, addresses: Sequence[Address], trust: ssl.SSLContext | None
    ) -> AsyncIterator[aiohttp.ClientSession]:
        connector = aiohttp.TCPConnector(
            resolver=_Fixed(addresses),
            use_dns_cache=False,
            force_close=True,
            ssl=trust or True,
            socket_factory=self._guarded,
        )
        session = aiohttp.ClientSession(
            connector=connector,
            headers=_HEADERS,
            auto_decompress=False,
            trust_env=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=_SILENCE),
        )

        async with session:
            yield session

    def _guarded(self, info: AddrInfoType) -> socket.socket:
        if not is_allowed(ip_address(str(info[4][0])), self.allowed):
            raise _NotAllowedError

        return self.open_socket(info)

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        if (response.content_length or 0) > self.largest:
            raise self._too_large()

        unpacked = _Unpacked(response.headers.get("Content-Encoding", ""), self.largest)
        received = 0

        async for chunk in response.content.iter_chunked(_CHUNK):
            received += len(chunk)

            if received > self.largest or not unpacked.add(chunk):
                raise self._too_large()

        return unpacked.all()

    def _too_large(self) -> StepRefused:
        return StepRefused(f"the page is larger than {self.largest:,} bytes")


class _NotAllowedError(OSError):
    """A connection to an address that is not allowed was about to be made."""


class _Fixed(AbstractResolver):
    """A resolver that knows the addresses of one name."""

    def __init__(self, addresses: Sequence[Address]) -> None:
        self._addresses = addresses

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002 - of the interface
    ) -> list[ResolveResult]:
        """Return the addresses, whatever the name is."""
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET if address.version == 4 else socket.AF_INET6,  # noqa: PLR2004
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        """Do nothing."""


class _Unpacked:
    """A body that arrives in pieces, compressed or not; never more of it than `largest` bytes is unpacked."""

    def __init__(self, coding: str, largest: int) -> None:
        coding = coding.strip().lower()

        if coding not in {"", "identity", "gzip", "x-gzip"}:
            raise StepRefused("the page is compressed in a way that was not asked for")

        self._gzip = zlib.decompressobj(zlib.MAX_WBITS | 16) if "gzip" in coding else None
        self._largest = largest
        self._content = bytearray()

    def add(self, piece: bytes) -> bool:
        """Take the next bytes, and return whether the content is not too large so far."""
        if self._gzip is None:
            self._content += piece
        else:
            try:
                self._content += self._gzip.decompress(piece, self._largest - len(self._content) + 1)
            except zlib.error:
                raise StepUnavailable("the page's compressed content is damaged") from None

            if self._gzip.unused_data:
                raise StepRefused("the page's compressed content has something behind its end")

        return len(self._content) <= self._largest

    def all(self) -> bytes:
        """Return the content.

        Raises:
            StepUnavailable: its end is missing.
        """
        if self._gzip is not None and not self._gzip.eof:
            raise StepUnavailable("the page's compressed content ends in the middle")

        return bytes(self._content)


def _not_allowed(url: PageURL) -> str:
    return (
        f"{url.host} is at an address that is not public, from which no page is fetched "
        "(COUNTERSIGN_FETCH_ALLOW names exceptions)"
    )
