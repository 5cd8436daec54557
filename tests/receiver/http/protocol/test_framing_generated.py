"""Generated heads and framings, compared with a second, strict parser, in whatever pieces they arrive."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
from typing import TYPE_CHECKING, Any

import httptools
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.reading import Request, read_all
from support.wire import Witness, accepted, answers, read, said, serving

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from support.wire import Running

HOST = b"Host: a.example\r\n"
CHUNKED = b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"


def check(data: bytes, cuts: Iterable[int] = ()) -> None:
    """Check that the reader sees what the reference sees, in whatever pieces it arrives."""
    requests, end = read_all(data)
    places = [0, *sorted(place % (len(data) + 1) for place in cuts), len(data)]
    reading = read(data[start:stop] for start, stop in itertools.pairwise(places))

    assert reading.requests == requests

    if end == "wrong":
        assert reading.refused
    elif reading.refused:
        # A request may be known to be malformed before its end. Then nothing that follows makes it valid.
        for rest in (b"\r\n\r\n", b"\n\r\n\r\n", b" HTTP/1.1\r\nHost: a\r\n\r\n", b":\r\n\r\n", b"\r\nHost: a\r\n\r\n"):
            assert read_all(data + rest)[0] == requests


FRAGMENTS = [
    b"GET / HTTP/1.1\r\n",
    b"POST /a?b HTTP/1.1\r\n",
    b"HEAD http://a.example:80/c?d HTTP/1.0\r\n",
    b"OPTIONS * HTTP/1.1\r\n",
    b"CONNECT a:1 HTTP/1.1\r\n",
    b"PRI * HTTP/2.0\r\n",
    HOST,
    HOST + b"\r\n",
    b"\r\n",
    b"\r\n\r\n",
    b"Connection: keep-alive, Upgrade\r\n",
    b"Upgrade: h2c\r\nHTTP2-Settings: AA\r\n",
    b"Content-Length: 5\r\n\r\n",
    b"Content-Length: 0\r\n\r\n",
    b"Content-Length: 5",
    b"Transfer-Encoding: chunked\r\n\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Transfer-Encoding:",
    b"hello",
    b"5\r\nhello\r\n",
    b"5;a=b\r\nhello\r\n",
    b"0\r\n\r\n",
    b"0\r\nX-Trailer: a\r\n\r\n",
    b"0",
    b"A: b\r\n",
    b" folded\r\n",
    b"A : b\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b"\x00",
    b"\x0b",
    b"\xff",
    b":",
    b";",
    b",",
    b"+",
    b"-",
    b"_",
    b"#",
]
WORDS = st.text("abcXYZ019-", min_size=1, max_size=6).map(str.encode)
VALUES = st.text('aZ0 \t,;=/"\xe9', max_size=8).map(lambda text: text.encode("latin-1").strip(b" \t"))
OTHER_HEADERS = st.lists(st.tuples(WORDS.map(lambda word: b"x-" + word.lower()), VALUES), max_size=4)
OFFERS = st.sampled_from(
    [b"", b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n", b"uPGRADE: foo\r\n"]
)
BODIES = st.binary(max_size=40) | st.sampled_from([b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", b"0\r\n\r\n"])


@st.composite
def honest(draw: Any) -> tuple[bytes, Request]:
    """A request that an honest client may send, and its parts."""
    method, path, query = draw(st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE"])), b"/" + draw(WORDS), draw(WORDS)
    headers, body = draw(OTHER_HEADERS), draw(BODIES)
    lines = b"".join(
        b"%b:%b%b\r\n" % (name, draw(st.sampled_from([b"", b" ", b" \t"])), value) for name, value in headers
    )
    start = b"%b %b?%b HTTP/1.1\r\n%bHost: a\r\n%b" % (method, path, query, draw(OFFERS), lines)
    offers = [(b"connection", b"Upgrade, HTTP2-Settings")] if b"h2c" in start else []
    request = Request(method, path, query, "1.1", [*offers, (b"host", b"a"), *headers], body=body)

    if draw(st.booleans()):
        request.headers.append((b"content-length", b"%d" % len(body)))
        return start + b"Content-Length: %d\r\n\r\n" % len(body) + body, request

    request.headers.append((b"transfer-encoding", b"chunked"))
    cut = draw(st.integers(0, len(body)))
    extension, trailer = draw(st.sampled_from([b"", b";a=b"])), draw(st.sampled_from([b"", b"X-Trailer: a\r\n"]))
    chunks = b"".join(b"%x%b\r\n%b\r\n" % (len(part), extension, part) for part in (body[:cut], body[cut:]) if part)
    return start + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n" + trailer + b"\r\n", request


#: No deadline, because the machine may be busy.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
CUTS = st.lists(st.integers(0, 10_000), max_size=8)


@UNHURRIED
@given(st.lists(honest(), min_size=1, max_size=4), CUTS)
def test_what_honest_clients_send_is_read_as_they_meant_it(sent: list[tuple[bytes, Request]], cuts: list[int]) -> None:
    data = b"".join(one for one, _ in sent)
    check(data, cuts)

    assert accepted(data) == [request for _, request in sent]


@UNHURRIED
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=14).map(b"".join), CUTS)
@example(CHUNKED + b"5\nhello\r\n0\r\n\r\n", [])
def test_pieces_of_requests_in_any_order_are_read_as_the_reference_reads_them(data: bytes, cuts: list[int]) -> None:
    check(data, cuts)


@UNHURRIED
@given(
    st.lists(honest().map(lambda sent: sent[0]), min_size=1, max_size=3).map(b"".join),
    st.lists(
        st.tuples(st.integers(0, 10_000), st.integers(0, 2), st.sampled_from(FRAGMENTS) | st.binary(max_size=2)),
        max_size=3,
    ),
    CUTS,
)
def test_requests_with_faults_are_read_as_the_reference_reads_them(
    data: bytes, faults: list[tuple[int, int, bytes]], cuts: list[int]
) -> None:
    for place, removed, instead in faults:
        at = place % (len(data) + 1)
        data = data[:at] + instead + data[at + removed :]

    check(data, cuts)


STREAMS = st.lists(honest().map(lambda sent: sent[0]) | st.sampled_from(FRAGMENTS), max_size=6).map(b"".join)


@UNHURRIED
@given(STREAMS)
def test_what_is_accepted_is_read_alike_by_the_parser_that_others_use(data: bytes) -> None:
    requests, _ = read_all(data)

    assert [request.body for request in requests] == bodies_by_llhttp(data)[: len(requests)]


def bodies_by_llhttp(data: bytes) -> list[bytes]:
    """Return the bodies that llhttp sees. Offers to change the protocol are removed, and `close` does not stop it."""
    bodies: list[bytes] = []

    class Events:
        def on_message_begin(self) -> None:
            bodies.append(b"")

        def on_body(self, body: bytes) -> None:
            bodies[-1] += body

    parser = httptools.HttpRequestParser(Events())
    parser.set_dangerous_leniencies(lenient_data_after_close=True)

    with contextlib.suppress(httptools.HttpParserError, httptools.HttpParserUpgrade):
        parser.feed_data(re.sub(rb"Connection: [^\r]*Upgrade[^\r]*\r\n", b"", data))

    return bodies


class Server:
    """A server over a witness, on a loop that runs only during a request."""

    def __init__(self, runner: asyncio.Runner, running: Running) -> None:
        self._runner = runner
        self._running = running

    def say(self, *pieces: bytes) -> bytes:
        return self._runner.run(said(self._running, *pieces, apart=0))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with asyncio.Runner() as runner:
        stack = contextlib.AsyncExitStack()
        yield Server(runner, runner.run(stack.enter_async_context(serving(Witness().app))))
        runner.run(stack.aclose())


@UNHURRIED
@given(data=STREAMS, cut=st.integers(0, 1000))
def test_over_a_socket_every_request_gets_one_response_and_a_malformed_one_ends_the_connection(
    server: Server, data: bytes, cut: int
) -> None:
    requests, end = expected(data)
    got = answers(server.say(data[:cut], data[cut:]), without_body=[one.method == b"HEAD" for one in requests])
    whole, more = got[: len(requests)], got[len(requests) :]

    assert [one.status for one in whole] == [200] * len(requests)
    assert all(one.echo["path"] == target(request) for one, request in zip(whole, requests, strict=True) if one.body)
    assert [one.problem for one in more] in AFTERWARDS[end]


REFUSED = ["malformed-body"]
AFTERWARDS: dict[str, list[list[str]]] = {"wrong": [REFUSED], "closed": [[]], "unfinished": [[], REFUSED]}


def expected(data: bytes) -> tuple[list[Request], str]:
    """Return the requests up to one that closes the connection, and what follows them."""
    requests, end = read_all(data)

    for number, one in enumerate(requests, 1):
        if one.version == "1.0" or (b"connection", b"close") in one.headers:
            return requests[:number], "closed"

    return requests, end


def target(request: Request) -> str:
    return (request.path + b"?" + request.query if request.query else request.path).decode()
