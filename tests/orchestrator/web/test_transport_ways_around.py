"""Ways around the check of addresses. Each is refused before a socket is made, and would get through without the check.

What is guarded is a web server at 127.0.0.2 that counts connections. The only address that is allowed is 127.0.0.3, at
which a page redirects wherever a test wants. Some ways lead to addresses that nothing can listen on here, such as 6to4;
for these the attempt to connect is what is counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import unicodedata
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from urllib.parse import unquote, urljoin, urlsplit

import aiohttp
import pytest
from support.websites import Website, moved, response, website

from orchestrator.errors import StepRefused, StepUnavailable
from orchestrator.web import transport as transport_module
from orchestrator.web.page_urls import PageURL
from orchestrator.web.pages import Pages
from orchestrator.web.public_addresses import Address
from orchestrator.web.transport import Transport

GUARDED = "127.0.0.2"
OPEN = "127.0.0.3"


@dataclass
class World:
    """What there is: the guarded server, an open one that redirects, and names. `tried` are the sockets' addresses."""

    guarded: Website
    open: Website
    names: dict[str, list[list[str]]]
    tried: list[str] = field(default_factory=list)

    async def look_up(self, host: str, port: int) -> Sequence[Address]:
        if host not in self.names:
            return await transport_module.look_up(host, port)

        answers = self.names[host]

        return [ip_address(each) for each in (answers.pop(0) if len(answers) > 1 else answers[0])]

    def open_socket(self, info: tuple[object, ...]) -> socket.socket:
        family, kind, protocol, _, place = info
        assert isinstance(place, tuple)
        self.tried.append(str(place[0]))

        return socket.socket(family, kind, protocol)  # type: ignore[arg-type]

    def pages(self, allowed: Sequence[str]) -> Pages:
        """Return what fetches pages in this world from these networks."""
        networks = tuple(map(ip_network, allowed))
        way = Transport(allowed=networks, look_up=self.look_up, open_socket=self.open_socket)

        return Pages(transport=way, seconds=2)


#: The ways by URL; PORT is the guarded server's. A number that is an address in another spelling, and the like.
BY_SPELLING = (
    "http://127.0.0.2:PORT/",
    "http://127.0.0.2.:PORT/",
    "http://localhost:PORT/",
    "http://LOCALHOST.:PORT/",
    "http://ｌｏｃａｌｈｏｓｔ:PORT/",  # noqa: RUF001 - the point of it
    "http://2130706434:PORT/",
    "http://0x7f000002:PORT/",
    "http://0x7F.0.0.2:PORT/",
    "http://017700000002:PORT/",
    "http://0177.0.0.02:PORT/",
    "http://127.2:PORT/",
    "http://127.0.2:PORT/",
    "http://127。0。0。2:PORT/",
    "http://①②⑦.⓪.⓪.②:PORT/",
    "http://0.0.0.0:PORT/",
    "http://0:PORT/",
    "http://127.255.255.254:PORT/",
    "http://[::1]:PORT/",
    "http://[::]:PORT/",
    "http://[0:0:0:0:0:0:0:1]:PORT/",
    "http://[::ffff:127.0.0.2]:PORT/",
    "http://[::ffff:7f00:2]:PORT/",
    "http://[::127.0.0.2]:PORT/",
    "http://[::ffff:0:127.0.0.2]:PORT/",
    "http://[64:ff9b::127.0.0.2]:PORT/",
    "http://[64:ff9b:1::127.0.0.2]:PORT/",
    "http://[2002:7f00:2::]:PORT/",
    "http://[2001:0:7f00:2::]:PORT/",
    "http://[fe80::1%25lo]:PORT/",
    "http://[fe80::1%lo]:PORT/",
    "http://[fd00:ec2::254]:PORT/",
    "http://[ff02::1]:PORT/",
    "http://public.example@127.0.0.2:PORT/",
    "http://public.example:80@127.0.0.2:PORT/",
    "http://127.0.0.2:PORT\\@127.0.0.3/",
    "http://127.0.0.3\\@127.0.0.2:PORT/",
    "http://127.0.0.2:PORT#@127.0.0.3/",
    "http://127.0.0.2:PORT?@127.0.0.3/",
    "http://169.254.169.254/latest/meta-data/",
    "http://100.100.100.200/latest/meta-data/",
    "http://168.63.129.16/machine/",
    "http://192.0.0.192/opc/v2/instance/",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://192.168.0.1/",
    "http://100.64.0.1/",
    "http://198.18.0.1/",
    "http://224.0.0.1/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
)

#: The ways by a name's addresses, one answer of the resolver after the other; the last one stays.
BY_NAME = {
    "a private address": [[GUARDED]],
    "a private address behind a public one": [["8.8.8.8", GUARDED]],
    "a private address before a public one": [[GUARDED, "8.8.8.8"]],
    "a private address behind one that is allowed": [[OPEN, GUARDED]],
    "an IPv4-mapped address": [["::ffff:127.0.0.2"]],
    "a translated address": [["64:ff9b::7f00:2"]],
    "a 6to4 address": [["2002:7f00:2::1"]],
    "a link-local address": [["fe80::1"]],
    "the metadata service": [["169.254.169.254"]],
    "all addresses": [["0.0.0.0"]],
}

#: The ways behind a redirect of a page that is allowed.
BY_REDIRECT = (
    "http://127.0.0.2:PORT/",
    "//127.0.0.2:PORT/",
    "http://2130706434:PORT/",
    "http://[::ffff:127.0.0.2]:PORT/",
    "http://x@127.0.0.2:PORT/",
    "http://localhost.:PORT/",
    "http:\\\\127.0.0.2:PORT\\",
    "http://rebinding.example:PORT/",
    "https://127.0.0.2:PORT/",
)


@asynccontextmanager
async def world(**names: list[list[str]]) -> AsyncIterator[World]:
    async with website({"/": response(b"secret", "text/plain")}, GUARDED) as guarded, website({}, OPEN) as front:
        known = {"rebinding.example": [[GUARDED]], **names}
        yield World(guarded=guarded, open=front, names=known)


async def attempt(there: World, url: str, allowed: Sequence[str]) -> StepRefused | StepUnavailable | str:
    try:
        return (await there.pages(allowed).fetch(url)).text
    except (StepRefused, StepUnavailable) as error:
        return error


@pytest.mark.parametrize("spelling", BY_SPELLING)
async def test_no_spelling_of_an_address_gets_a_connection(spelling: str) -> None:
    async with world() as there:
        outcome = await attempt(there, spelling.replace("PORT", str(there.guarded.port)), [OPEN])

        assert isinstance(outcome, StepRefused)
        assert (there.tried, there.guarded.connections) == ([], 0)


@pytest.mark.parametrize("answers", BY_NAME.values(), ids=BY_NAME)
async def test_no_name_gets_a_connection_if_one_of_its_addresses_is_not_allowed(answers: list[list[str]]) -> None:
    async with world(**{"name.example": answers}) as there:
        outcome = await attempt(there, there.guarded.url(host="name.example"), [OPEN])

        assert isinstance(outcome, StepRefused)
        assert "127.0.0.2" not in str(outcome)
        assert (there.tried, there.guarded.connections) == ([], 0)


@pytest.mark.parametrize("location", [*BY_REDIRECT, "file:///etc/passwd", "gopher://127.0.0.2:PORT/_x", "data:,x"])
async def test_no_redirect_gets_a_connection(location: str) -> None:
    async with world() as there:
        there.open.pages["/"] = moved(location.replace("PORT", str(there.guarded.port)))
        outcome = await attempt(there, there.open.url(host=OPEN), [OPEN])

        assert isinstance(outcome, StepRefused)
        assert (there.tried, there.open.connections, there.guarded.connections) == ([OPEN], 1, 0)


async def test_a_name_that_changes_its_address_after_the_check_is_connected_to_as_it_was_checked() -> None:
    async with world(**{"rebinding.example": [[OPEN], [GUARDED]]}) as there:
        there.open.pages["/"] = response(b"fine", "text/plain")
        url = there.open.url(host="rebinding.example")

        assert await attempt(there, url, [OPEN]) == "fine"
        assert there.open.requests[0].split(b"\r\n")[1] == f"Host: rebinding.example:{there.open.port}".encode()
        assert isinstance(await attempt(there, url, [OPEN]), StepRefused)
        assert (there.tried, there.guarded.connections) == ([OPEN], 0)


async def test_the_socket_is_checked_whatever_was_checked_before(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lying(transport_module._Fixed):
        def __init__(self, addresses: Sequence[Address]) -> None:
            super().__init__([ip_address(GUARDED) for _ in addresses])

    monkeypatch.setattr(transport_module, "_Fixed", Lying)

    async with world(**{"name.example": [[OPEN]]}) as there:
        outcome = await attempt(there, there.guarded.url(host="name.example"), [OPEN])

        assert isinstance(outcome, StepRefused)
        assert (there.tried, there.guarded.connections) == ([], 0)


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"])
async def test_a_proxy_of_the_environment_is_not_used(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world() as there:
        monkeypatch.setenv(variable, there.guarded.url(host=GUARDED))
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        there.open.pages["/"] = response(b"fine", "text/plain")

        assert await attempt(there, there.open.url(host=OPEN), [OPEN]) == "fine"
        assert isinstance(await attempt(there, "http://10.0.0.1/", [OPEN]), StepRefused)
        assert there.guarded.connections == 0

        if variable.lower() == "http_proxy":
            async with aiohttp.ClientSession(trust_env=True) as session, session.get("http://10.0.0.1/") as passed:
                assert passed.status == 404  # the proxy answers, where the environment is trusted

            assert there.guarded.connections == 1


async def carelessly(there: World, url: str) -> None:
    """Fetch as somebody would who hands a URL to a library and to the system's resolver, and follows redirects."""
    way = Transport(
        allowed=tuple(map(ip_network, ("0.0.0.0/0", "::/0"))), look_up=there.look_up, open_socket=there.open_socket
    )

    # A browser takes a backslash for a slash, and other programs do not.
    for reading in {url, url.replace("\\", "/")}:
        parts = urlsplit(reading)
        host = unicodedata.normalize("NFKC", unquote(parts.hostname or "")).removesuffix(".")

        for address in await there.look_up(host, 0):
            place = PageURL(scheme=parts.scheme, host=str(address), port=parts.port or 80, target=parts.path or "/")

            with contextlib.suppress(StepRefused, StepUnavailable, TimeoutError):
                async with asyncio.timeout(2):
                    found = await way.get(place)

                if "Location" in found.headers:
                    await carelessly(there, urljoin(reading, found.headers["Location"].replace("\\", "/")))


@pytest.mark.parametrize("spelling", BY_SPELLING)
async def test_without_the_check_every_spelling_would_get_a_connection(spelling: str) -> None:
    async with world() as there:
        await carelessly(there, spelling.replace("PORT", str(there.guarded.port)))

        assert set(there.tried) - {OPEN}


@pytest.mark.parametrize("answers", BY_NAME.values(), ids=BY_NAME)
async def test_without_the_check_every_name_would_get_a_connection(answers: list[list[str]]) -> None:
    async with world(**{"name.example": answers}) as there:
        await carelessly(there, there.guarded.url(host="name.example"))

        assert set(there.tried) & set(answers[0])


@pytest.mark.parametrize("location", BY_REDIRECT)
async def test_without_the_check_every_redirect_would_get_a_connection(location: str) -> None:
    async with world() as there:
        there.open.pages["/"] = moved(location.replace("PORT", str(there.guarded.port)))
        await carelessly(there, there.open.url(host=OPEN))

        assert set(there.tried) - {OPEN}
