"""The client's address: what trusted proxies report, read from the end, and nothing that anybody else reports."""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.edge import edge
from support.plant import pause

from orchestrator.config.settings import LOOPBACK
from receiver.http.client_addresses import MAX_HOPS, ClientAddresses, client_address
from receiver.http.protocol.server import Server

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Start

INSIDE = [*LOOPBACK, ip_network("10.0.0.0/8"), ip_network("fd00::/8")]
PROXY, CLIENT = "10.0.0.1", "203.0.113.9"


async def seen(peer: str | None, *lines: str | bytes, proxies: Any = INSIDE, **headers: str) -> Any:
    """Return what the application sees as its client's address."""
    found: list[Any] = []

    async def app(scope: Any, *_: object) -> None:
        found.append(scope.get("client"))

    given = [(b"host", b"x"), *((b"x-forwarded-for", one if isinstance(one, bytes) else one.encode()) for one in lines)]
    given += [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "headers": given, "client": None if peer is None else (peer, 4711)}
    await ClientAddresses(app, proxies)(scope, None, None)  # type: ignore[arg-type]

    return found[0]


async def address(peer: str | None, *lines: str | bytes, **options: Any) -> str | None:
    return client_address({"client": await seen(peer, *lines, **options)})


@pytest.mark.parametrize(
    ("peer", "lines", "client"),
    [
        pytest.param(CLIENT, [], CLIENT, id="no proxy"),
        pytest.param(CLIENT, ["192.0.2.1"], CLIENT, id="a stranger says so"),
        pytest.param("127.0.0.1", [CLIENT], CLIENT, id="a proxy on this host"),
        pytest.param("::1", [CLIENT], CLIENT, id="the same over IPv6"),
        pytest.param("127.8.9.10", [CLIENT], CLIENT, id="the whole loopback network"),
        pytest.param(PROXY, [CLIENT], CLIENT, id="a proxy of the network"),
        pytest.param(PROXY, [], PROXY, id="the proxy itself"),
        pytest.param(PROXY, [f"192.0.2.1, {CLIENT}"], CLIENT, id="made up on the left"),
        pytest.param(PROXY, [f"127.0.0.1, 10.0.0.9, {CLIENT}"], CLIENT, id="a proxy's address made up"),
        pytest.param(PROXY, [f"192.0.2.1, {CLIENT}, 10.0.0.2, 10.0.0.3"], CLIENT, id="three proxies"),
        pytest.param(PROXY, ["192.0.2.1", CLIENT], CLIENT, id="repeated headers"),
        pytest.param(PROXY, ["192.0.2.1", f"{CLIENT}, 10.0.0.2"], CLIENT, id="repeated headers, two proxies"),
        pytest.param(PROXY, [CLIENT, "10.0.0.2"], CLIENT, id="a header of each proxy"),
        pytest.param(PROXY, ["10.0.0.2, 10.0.0.3"], "10.0.0.2", id="proxies all the way"),
        pytest.param(PROXY, [f"{CLIENT}:50123"], CLIENT, id="with a port"),
        pytest.param(PROXY, [f"{CLIENT}:50123, 10.0.0.2:443"], CLIENT, id="a proxy with a port"),
        pytest.param(PROXY, ["[2001:db8::1]:50123"], "2001:db8::1", id="IPv6 with a port"),
        pytest.param(PROXY, ["[2001:db8::1]"], "2001:db8::1", id="IPv6 in brackets"),
        pytest.param(PROXY, ["2001:DB8:0::0:1"], "2001:db8::1", id="IPv6 of another spelling"),
        pytest.param(PROXY, [f"{CLIENT}, fd00::2"], CLIENT, id="a proxy over IPv6"),
        pytest.param(PROXY, [f"{CLIENT}, [fd00::2]:443"], CLIENT, id="the same with a port"),
        pytest.param(f"::ffff:{CLIENT}", [], CLIENT, id="a client at an IPv6 socket"),
        pytest.param(f"::ffff:{CLIENT}", ["192.0.2.1"], CLIENT, id="a stranger at an IPv6 socket"),
        pytest.param(f"::ffff:{PROXY}", [CLIENT], CLIENT, id="a proxy at an IPv6 socket"),
        pytest.param(PROXY, [f"{CLIENT}, ::ffff:10.0.0.2"], CLIENT, id="a proxy that saw one there"),
        pytest.param(PROXY, [f"::ffff:{CLIENT}"], CLIENT, id="mapped"),
        pytest.param("fe80::1%eth0", [CLIENT], "fe80::1", id="a peer with a zone"),
        pytest.param(PROXY, [f"\t {CLIENT}\t"], CLIENT, id="blanks around it"),
        pytest.param("testclient", [CLIENT], "testclient", id="a peer that is no address"),
        pytest.param(None, [CLIENT], None, id="no peer, as at a Unix socket"),
    ],
)
async def test_the_client_is_the_last_address_that_no_proxy_of_ours_has(
    peer: str | None, lines: list[str], client: str | None
) -> None:
    assert await address(peer, *lines) == client


@pytest.mark.parametrize(
    "reported",
    [
        *("", ",", "unknown", "_hidden", "unix:", "localhost", "evil.example", "203.0.113", "203.0.113.9.1"),
        *("256.0.0.1", "010.0.0.1", "0x7f000001", "2130706433", "203.0.113.9:", "203.0.113.9:123456", "203.0.113.9:x"),
        *("[203.0.113.9", "203.0.113.9]", "[2001:db8::1]x", "[2001:db8::1]:", "2001:db8::1::2", "[]", "[]:1", ":1"),
        *('"203.0.113.9"', "for=203.0.113.9", "203.0.113.9 10.0.0.2", "203.0.113.9;10.0.0.2", "fe80::1%eth0"),
        *("203.0.113.9 by=root", "\x1b[31m", "a" * 30_000, "9" * 60, ":" * 45, "203.0.113.9%0a"),
        *(b"\xff\xfe", b"203.0.113.9\x00", b"203.0.113.9\x0b", "٢٠٣.0.113.9".encode()),
    ],
)
async def test_what_is_no_address_makes_nobody_else_the_client(reported: str | bytes) -> None:
    text = reported if isinstance(reported, bytes) else reported.encode()

    assert await address(PROXY, text) == PROXY
    # What precedes it came from an unknown sender.
    assert await address(PROXY, b"192.0.2.1, " + text) == PROXY
    assert await address(PROXY, b"192.0.2.1, " + text + b", 10.0.0.2") == "10.0.0.2"
    assert await address(PROXY, text + b", " + CLIENT.encode()) == CLIENT


async def test_no_more_proxies_are_followed_than_anybody_has() -> None:
    assert await address(PROXY, f"{CLIENT}, " + ", ".join(["10.0.0.2"] * (MAX_HOPS - 1))) == CLIENT
    assert await address(PROXY, f"{CLIENT}, " + ", ".join(["10.0.0.2"] * MAX_HOPS)) == "10.0.0.2"
    assert await address(PROXY, ",".join(["10.0.0.2"] * 100_000)) == "10.0.0.2"


async def test_only_the_networks_that_are_named_are_believed() -> None:
    named = [ip_network("198.51.100.0/24")]

    assert await address("127.0.0.1", CLIENT, proxies=named) == "127.0.0.1"
    assert await address("198.51.100.7", CLIENT, proxies=named) == CLIENT
    assert await address("198.51.101.7", CLIENT, proxies=named) == "198.51.101.7"


async def test_the_port_is_that_of_the_peer_or_none() -> None:
    assert await seen(CLIENT) == (CLIENT, 4711)
    assert await seen(PROXY, f"{CLIENT}:50123") == (CLIENT, 0)


async def test_no_other_header_says_who_the_client_is() -> None:
    others = {"x_real_ip": CLIENT, "forwarded": f"for={CLIENT}", "x_forwarded_proto": "https", "x_client_ip": CLIENT}

    assert await address(PROXY, **others) == PROXY


@given(st.sampled_from([PROXY, "::1", "::ffff:10.0.0.1"]), st.lists(st.binary(max_size=40), max_size=5))
def test_whatever_is_reported_the_client_is_an_address(peer: str, lines: list[bytes]) -> None:
    client = asyncio.run(address(peer, *lines))

    assert client is not None
    assert set(client) <= set("0123456789abcdef:.")


@given(st.lists(st.ip_addresses().map(str) | st.text("0123456789abcdef:.,[]% ", max_size=30), max_size=6))
def test_nothing_on_the_left_changes_who_the_client_is(left: list[str]) -> None:
    assert asyncio.run(address(PROXY, ",".join([*left, CLIENT]))) == CLIENT


# -- on real sockets ----------------------------------------------------------


async def relay(client: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Forward one request like a proxy that appends a header of its own."""
    head = await reader.readuntil(b"\r\n\r\n")
    upstream, onward = await asyncio.open_connection("127.0.0.1", port)
    onward.write(head[:-2] + f"X-Forwarded-For: {client}\r\nConnection: close\r\n\r\n".encode())
    writer.write(await upstream.read())
    writer.close()
    onward.close()


async def through(port: int, head: str) -> str:
    """Return the complete response from this port."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{head}\r\nHost: x\r\n\r\n".encode())
    answer = (await reader.read()).decode()
    writer.close()

    return answer


async def test_behind_a_proxy_each_client_is_limited_and_logged_by_its_own_address(
    tmp_path: Path, start: Start
) -> None:
    log = start("debug")

    async with edge(tmp_path) as here:
        server = Server(here.app, stopping=lambda: None)
        # A socket for both families: here the proxy's address is `::ffff:127.0.0.1`.
        listener = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        port = listener.getsockname()[1]
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        answers: dict[str, list[str]] = {}

        while not server.started:
            await pause(0.01)

        for client in (CLIENT, "2001:db8::1"):
            async with await asyncio.start_server(partial(relay, client, port), "127.0.0.1", 0) as proxy:
                address = proxy.sockets[0].getsockname()[1]
                # The client reports another address each time, without effect.
                answers[client] = [
                    (await through(address, f"GET /callbacks/bad HTTP/1.1\r\nX-Forwarded-For: 192.0.2.{n}"))[9:12]
                    for n in range(62)
                ]

        server.should_exit = True
        await serving

    assert answers == {client: ["401"] * 60 + ["429"] * 2 for client in (CLIENT, "2001:db8::1")}
    lines = [line for line in log.getvalue().splitlines() if "receiver.access" in line]
    assert sum(line.endswith(f" client={CLIENT}") for line in lines) == 62
    assert sum(line.endswith(" client=2001:db8::1") for line in lines) == 62
    assert "192.0.2." not in log.getvalue()
