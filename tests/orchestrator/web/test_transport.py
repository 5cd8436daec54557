"""One request for a page: its limits, and how failures are told apart."""

from __future__ import annotations

import gzip
import socket
import ssl
import zlib
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from support.postbox import certificate_in
from support.websites import Pieces, response, website

from orchestrator.errors import StepRefused, StepUnavailable
from orchestrator.web.page_urls import page_url
from orchestrator.web.public_addresses import Address
from orchestrator.web.transport import Lookup, Response, Transport, _Unpacked

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
LARGEST = 100_000


def chunked(*pieces: bytes, end: bytes = b"0\r\n\r\n", headers: bytes = b"") -> bytes:
    body = b"".join(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in pieces)

    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + headers + b"\r\n" + body + end


def gzipped(content: bytes, *headers: str) -> bytes:
    return response(content, "text/html", "Content-Encoding: gzip", *headers)


async def got(pages: Pieces, target: str = "/", **named: object) -> Response:
    async with website({target: pages}) as site:
        return await Transport(allowed=LOOPBACK, largest=LARGEST, **named).get(page_url(site.url(target)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "pages",
    [
        response(b"hello"),
        chunked(b"hel", b"lo"),
        chunked(b"hello", headers=b"Content-Encoding: identity\r\n"),
        gzipped(gzip.compress(b"hello")),
        chunked(*(bytes([each]) for each in gzip.compress(b"hello")), headers=b"Content-Encoding: X-GZIP\r\n"),
        b"HTTP/1.0 200 OK\r\n\r\nhello",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + response(b"hello"),
        [response(b"hello")[:20], 0.0, response(b"hello")[20:]],
    ],
)
async def test_a_body_arrives_whole_and_decompressed(pages: Pieces) -> None:
    assert (await got(pages)).body == b"hello"


async def test_the_request_says_no_more_than_it_must() -> None:
    async with website({"/a%20b?c=%2F&d": response(b"x")}) as site:
        await Transport(allowed=LOOPBACK).get(page_url(site.url("/a%20b?c=%2F&d")))

    lines = site.requests[0].decode().split("\r\n")

    assert lines[0] == "GET /a%20b?c=%2F&d HTTP/1.1"
    assert {line.partition(":")[0] for line in lines[1:] if line} == {
        *("Host", "Accept", "Accept-Encoding", "User-Agent", "Connection")
    }


async def test_nothing_of_one_request_is_sent_with_the_next(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login ada password hidden\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))

    async with website({"/": response(b"x", "text/html", "Set-Cookie: a=b")}) as site:
        way = Transport(allowed=LOOPBACK)
        await way.get(page_url(site.url()))
        await way.get(page_url(site.url()))

    assert site.connections == 2
    assert all(b"Cookie" not in each and b"Authorization" not in each for each in site.requests)


@pytest.mark.parametrize(
    "pages",
    [
        response(b"", length=LARGEST + 1),
        response(b"x" * (LARGEST + 1)),
        chunked(*[b"x" * 1000] * (LARGEST // 1000), b"x"),
        [b"HTTP/1.1 200 OK\r\n\r\n", *[b"x" * 1000] * 200, float("inf")],
        gzipped(gzip.compress(b"\0" * (LARGEST + 1))),
        gzipped(gzip.compress(b"\0" * 200_000_000, 1)[:LARGEST]),
        chunked(*[gzip.compress(b"\0" * 50_000_000, 1)] * 2, headers=b"Content-Encoding: gzip\r\n"),
    ],
    ids=["declared", "sent", "in chunks", "without an end", "compressed", "a bomb", "a bomb in chunks"],
)
async def test_a_body_that_is_too_large_is_refused_before_it_is_there(pages: Pieces) -> None:
    with pytest.raises(StepRefused, match="larger than 100,000 bytes"):
        await got(pages)


async def test_compressed_content_that_never_becomes_anything_is_too_large_as_well() -> None:
    nothing = b"\x00\x00\x00\xff\xff"  # a stored block of no bytes (RFC 1951)
    header = gzip.compress(b"")[:10]

    with pytest.raises(StepRefused, match="larger than 100,000 bytes"):
        await got(chunked(header, *[nothing * 1000] * 25, headers=b"Content-Encoding: gzip\r\n"))


def test_no_more_of_a_bomb_is_unpacked_than_shows_that_it_is_one() -> None:
    unpacked = _Unpacked("gzip", LARGEST)

    assert not unpacked.add(gzip.compress(b"\0" * 50_000_000, 1))
    assert len(unpacked._content) == LARGEST + 1


async def test_a_body_of_the_largest_size_is_fine() -> None:
    assert len((await got(response(b"x" * LARGEST))).body) == LARGEST
    assert len((await got(gzipped(gzip.compress(b"x" * LARGEST)))).body) == LARGEST


@pytest.mark.parametrize("coding", ["deflate", "br", "zstd", "compress", "gzip, gzip", "x", "gzip;q=1"])
async def test_a_compression_that_was_not_asked_for_is_refused(coding: str) -> None:
    with pytest.raises(StepRefused, match="not asked for"):
        await got(response(zlib.compress(b"x"), "text/html", f"Content-Encoding: {coding}"))


async def test_something_behind_the_end_of_the_compressed_content_is_refused() -> None:
    with pytest.raises(StepRefused, match="behind its end"):
        await got(gzipped(gzip.compress(b"a") + gzip.compress(b"b")))


@pytest.mark.parametrize(
    "pages",
    [
        b"",
        b"\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"220 mail.example.org ESMTP\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA\0: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: " + b"b" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 100_000 + b"\r\n",
        response(b"hell", length=5),
        chunked(b"hello", end=b""),
        gzipped(gzip.compress(b"hello" * 100)[:-9]),
        gzipped(b"not compressed"),
    ],
)
async def test_an_answer_that_is_none_or_breaks_off_may_be_better_the_next_time(pages: Pieces) -> None:
    with pytest.raises(StepUnavailable):
        await got(pages)


async def test_a_silent_server_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.web.transport._SILENCE", 0.05)

    silent: list[bytes | float] = [float("inf")]

    for pages in (silent, [response(b"hello")[:-2], *silent]):
        with pytest.raises(StepUnavailable, match="did not answer in time"):
            await got(pages)


async def test_a_refused_connection_may_be_accepted_the_next_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    with pytest.raises(StepUnavailable, match=r"127\.0\.0\.1 could not be reached"):
        await Transport(allowed=LOOPBACK).get(page_url(f"http://127.0.0.1:{port}/"))


def failing(error: Exception) -> Lookup:
    async def look_up(_host: str, _port: int) -> Sequence[Address]:
        raise error

    return look_up


@pytest.mark.parametrize("code", ["EAI_NONAME", "EAI_NODATA"])
async def test_a_name_that_does_not_resolve_is_refused(code: str) -> None:
    with pytest.raises(StepRefused, match=r"nowhere\.example does not resolve"):
        await Transport(look_up=failing(socket.gaierror(getattr(socket, code), "x"))).get(
            page_url("http://nowhere.example")
        )


async def test_a_name_without_an_address_is_refused() -> None:
    async def none(_host: str, _port: int) -> Sequence[Address]:
        return []

    with pytest.raises(StepRefused, match="does not resolve"):
        await Transport(look_up=none).get(page_url("http://nowhere.example"))


@pytest.mark.parametrize("error", [socket.gaierror(socket.EAI_AGAIN, "x"), OSError("x"), UnicodeError("x")])
async def test_a_resolver_that_does_not_answer_may_answer_the_next_time(error: Exception) -> None:
    with pytest.raises(StepUnavailable, match="could not be looked up"):
        await Transport(look_up=failing(error)).get(page_url("http://nowhere.example"))


async def test_each_address_of_a_name_is_tried() -> None:
    async def two(_host: str, _port: int) -> Sequence[Address]:
        return [ip_address("127.0.0.9"), ip_address("127.0.0.9"), ip_address("127.0.0.1")]

    async with website({"/": response(b"fine")}) as site:
        got = await Transport(allowed=LOOPBACK, look_up=two).get(page_url(site.url(host="two.example")))

    assert got.body == b"fine"


async def test_the_certificate_must_be_of_the_name_and_not_of_the_address(tmp_path: Path) -> None:
    async def here(_host: str, _port: int) -> Sequence[Address]:
        return [ip_address("127.0.0.1")]

    certificate = certificate_in(tmp_path)
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(certificate)
    way = Transport(allowed=LOOPBACK, look_up=here, trust=lambda: ssl.create_default_context(cafile=str(certificate)))

    async with website({"/": response(b"fine")}, tls=served) as site:
        assert (await way.get(page_url(site.url(host="localhost", scheme="https")))).body == b"fine"

        with pytest.raises(StepRefused, match=r"other\.example has no valid certificate"):
            await way.get(page_url(site.url(host="other.example", scheme="https")))

        with pytest.raises(StepRefused, match="no valid certificate"):
            await Transport(allowed=LOOPBACK, look_up=here).get(page_url(site.url(host="localhost", scheme="https")))

    assert len(site.requests) == 1
