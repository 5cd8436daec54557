"""Where one request ends and the next begins: what is read, what is refused, and what is bounded."""

from __future__ import annotations

import pytest
from support.reading import read_all
from support.wire import CHUNKED, HOST, accepted, posted, read

from receiver.http.protocol.framing import HeadTooLarge, RequestReader
from receiver.http.protocol.heads import Head, MalformedRequest

#: The numbers in SECURITY.md.
HEAD_BYTES = 64 * 1024
HEAD_LINES = 200


AMBIGUOUS = [
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
    b"GET / HTTP/1.0\r\n" + HOST + HOST + b"\r\n",
    b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a:x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
    b"GET / HTTP/1.1\nHost: a\n\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nA: b\nB: c\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nA: b\rB: c\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nA: b\x00\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n\tc\r\n\r\n",
    b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nA\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nA(: b\r\n\r\n",
    b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    b" GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
    b"GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
    b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
    b"GET / http/1.1\r\nHost: a\r\n\r\n",
    b"GET /\r\nHost: a\r\n\r\n",
    b"-GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /\r\n",
    b"GET a HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n",
    b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00",
    b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n",
    posted(b"Content-Length: +5", body=b"hello"),
    posted(b"Content-Length: -5", body=b"hello"),
    posted(b"Content-Length: 5, 5", body=b"hello"),
    posted(b"Content-Length: 5 5", body=b"hello"),
    posted(b"Content-Length: 0x5", body=b"hello"),
    posted(b"Content-Length: 5_0", body=b"hello"),
    posted(b"Content-Length: 5.0", body=b"hello"),
    posted(b"Content-Length: \xb2", body=b"hello"),
    posted(b"Content-Length:", body=b"hello"),
    posted(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"),
    posted(b"Content-Length: 5", b"content-length: 6", body=b"hello"),
    posted(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    posted(b"Transfer-Encoding: chunked", b"Content-Length: 0", body=b"0\r\n\r\n"),
    posted(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"),
    posted(b"Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n"),
    posted(b"Transfer-Encoding: identity, chunked", body=b"0\r\n\r\n"),
    posted(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
    posted(b"Transfer-Encoding: identity", body=b"0\r\n\r\n"),
    posted(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    posted(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", body=b"0\r\n\r\n"),
    posted(b"Transfer-Encoding: chunked;a=b", body=b"0\r\n\r\n"),
    posted(b"Transfer-Encoding: ,chunked", body=b"0\r\n\r\n"),
    posted(b'Transfer-Encoding: "chunked"', body=b"0\r\n\r\n"),
    posted(b"Transfer-Encoding:", body=b"0\r\n\r\n"),
    posted(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"),
    posted(b"Transfer-Encoding: chunked\x00", body=b"0\r\n\r\n"),
    posted(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n"),
    posted(b"Transfer_Encoding : chunked", body=b"0\r\n\r\n"),
    b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    CHUNKED + b"\r\n",
    CHUNKED + b"5 \r\nhello\r\n",
    CHUNKED + b" 5\r\nhello\r\n",
    CHUNKED + b"0x5\r\nhello\r\n",
    CHUNKED + b"5_0\r\nhello\r\n",
    CHUNKED + b"+5\r\nhello\r\n",
    CHUNKED + b"-5\r\nhello\r\n",
    CHUNKED + b"g\r\nhello\r\n",
    CHUNKED + b";a=b\r\nhello\r\n",
    CHUNKED + b"5\nhello\r\n0\r\n\r\n",
    CHUNKED + b"5\r\nhello\n0\r\n\r\n",
    CHUNKED + b"5\r\nhello0\r\n\r\n",
    CHUNKED + b"5\r\nhellooo\r\n0\r\n\r\n",
    CHUNKED + b"5\r\nhelloXX0\r\n\r\n",
    CHUNKED + b"5\r\nhello\n\n0\r\n\r\n",
    CHUNKED + b"5;a\nb\r\nhello\r\n",
    CHUNKED + b"5;a\rb\r\nhello\r\n",
    CHUNKED + b"00000000000000005\r\nhello\r\n",
    CHUNKED + b"f" * 17 + b"\r\n",
    CHUNKED + b"0\r\nnone\r\n\r\n",
    CHUNKED + b"0\r\nA: b\nC: d\r\n\r\n",
    CHUNKED + b"0\r\n folded\r\n\r\n",
    CHUNKED + b"0\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
]


@pytest.mark.parametrize("data", AMBIGUOUS)
def test_what_two_readers_could_read_differently_is_refused_and_nothing_after_it_is_read(data: bytes) -> None:
    for pieces in ([data + posted()], [data, posted()], [bytes([byte]) for byte in data + posted()]):
        reading = read(pieces)

        assert reading.refused
        assert reading.requests == []

        with pytest.raises(MalformedRequest):
            reading.reader.head()

    assert read_all(data + b"\r\n\r\n" + posted()) == ([], "wrong")


HOPELESS = [
    b"\n",
    b"\x16\x03\x01",
    b"GET /\x00",
    b"GET / HTTP/1.1\n",
    b"GET / HTTP/1.1\r\nHost: a\n",
    b"GET / HTTP/1.1\r\nHost: a\rB",
    b"GET / HTTP/1.1\r\nA: \x00",
    b"GET / HTTP/1.1\r\nA: \x7f",
    b"GET /\r\n",
    b"hello\r\n",
]


@pytest.mark.parametrize("begun", HOPELESS)
def test_a_head_that_is_malformed_already_is_refused_at_once(begun: bytes) -> None:
    """The sender is refused at once, and does not occupy a connection until the deadline."""
    for pieces in ([begun], [bytes([byte]) for byte in begun], [b"\r\n", begun], [posted()[:-2], b"\r\n", begun]):
        assert read(pieces).refused


def test_blank_lines_before_a_request_are_passed_over() -> None:
    assert len(accepted(b"\r\n\r\n" + posted() + b"\r\n" + posted())) == 2


def test_a_blank_line_alone_has_begun_something() -> None:
    reader = RequestReader()
    reader.feed(b"\r\n")

    assert reader.head() is None
    assert reader.begun


def test_trailers_and_extensions_are_no_headers_and_no_body() -> None:
    data = CHUNKED + b"5;a=b\r\nhello\r\n0;c\r\nAuthorization: Bearer x\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n"
    (request,) = accepted(data)

    assert request.headers == [(b"host", b"a.example"), (b"transfer-encoding", b"chunked")]
    assert request.body == b"hello"


ENDLESS = {
    "a URL": (b"GET /", b"a"),
    "a query": (b"GET /?", b"a"),
    "a method": (b"", b"A"),
    "a header's name": (b"GET / HTTP/1.1\r\n", b"a"),
    "a header's value": (b"GET / HTTP/1.1\r\nA: ", b"a"),
    "headers": (b"GET / HTTP/1.1\r\n", b"A: b\r\n"),
    "spaces": (b"GET / HTTP/1.1\r\nA:", b" "),
    "blank lines": (b"", b"\r\n"),
    "half a head after blank lines": (b"\r\n" * 30_000, b"a"),
}


@pytest.mark.parametrize(("begun", "more"), ENDLESS.values(), ids=ENDLESS.keys())
@pytest.mark.parametrize("at_once", [1, 500, 100_000])
def test_a_head_without_end_is_given_up_and_no_longer_kept(begun: bytes, more: bytes, at_once: int) -> None:
    reader = RequestReader()
    reader.feed(begun)
    fed = len(begun)

    while read_on(reader):
        reader.feed(more * at_once)
        fed += len(more) * at_once

    assert HEAD_BYTES < fed <= HEAD_BYTES + len(more) * at_once + len(begun)
    reader.feed(more * at_once)
    assert reader.buffered == 0


def read_on(reader: RequestReader) -> bool:
    """Return whether the reader is waiting for the end of a head."""
    try:
        assert reader.head() is None
    except HeadTooLarge:
        return False

    return True


def test_a_head_of_the_largest_size_is_read_and_one_byte_more_is_not() -> None:
    bare = len(b"\r\n" + posted(b"A: "))

    for more, expected in ((0, Head), (1, HeadTooLarge)):
        reader = RequestReader()
        reader.feed(b"\r\n" + posted(b"A: " + b"a" * (HEAD_BYTES - bare + more)))

        if expected is HeadTooLarge:
            with pytest.raises(HeadTooLarge):
                reader.head()
        else:
            assert isinstance(reader.head(), Head)


def test_a_head_of_the_most_lines_is_read_and_one_more_is_not() -> None:
    """Ten thousand short lines would fit into the limit of bytes, and would block the loop for long."""
    bare = posted().count(b"\r\n") - 1

    assert len(accepted(posted(*[b"A:"] * (HEAD_LINES - bare)))) == 1

    reader = RequestReader()
    reader.feed(posted(*[b"A:"] * (HEAD_LINES - bare + 1)))

    with pytest.raises(HeadTooLarge):
        reader.head()


@pytest.mark.parametrize(
    "more",
    [
        b"5;" + b"a" * 300,
        b"f" * 300,
        b"5;a=%b\r\nhello\r\n" % (b"a" * 200),
        b"0\r\n" + b"A: b\r\n",
        b"0\r\nA: " + b"a" * 100,
    ],
    ids=["an extension", "a size", "extensions", "trailers", "a trailer"],
)
def test_what_a_chunked_body_carries_beside_its_data_is_bounded(more: bytes) -> None:
    first, _, rest = more.partition(b"0\r\n") if more.startswith(b"0") else (b"", b"", more)
    endless = CHUNKED + first + (b"0\r\n" if more.startswith(b"0") else b"") + rest * 5000

    assert read([endless[:100_000]]).refused


def test_what_one_chunked_body_carries_beside_its_data_does_not_count_for_the_next_one() -> None:
    one = CHUNKED + b"5;" + b"a" * 200 + b"\r\nhello\r\n0\r\nA: " + b"a" * 5000 + b"\r\n\r\n"

    assert len(accepted(one * 3)) == 3


def test_very_many_chunks_are_handed_out_in_parts() -> None:
    reader = RequestReader()
    reader.feed(CHUNKED + b"1\r\na\r\n" * 10_000 + b"0\r\n\r\n")
    reader.head()
    parts = []

    while not reader.complete:
        parts.append(reader.body())
        assert reader.more != reader.complete

    assert len(parts) == 3
    assert b"".join(parts) == b"a" * 10_000


@pytest.mark.parametrize(
    ("sent", "arrived"),
    [
        (posted(b"Content-Length: 3", body=b"ab"), False),
        (posted(b"Content-Length: 3", body=b"abc"), True),
        (posted(b"Content-Length: 3", body=b"abcPOST / HTTP"), True),
        (posted(b"Content-Length: 0"), True),
        (CHUNKED + b"1\r\na\r\n0\r\n\r\n", False),
    ],
)
def test_it_is_known_whether_a_body_of_known_length_has_arrived(sent: bytes, *, arrived: bool) -> None:
    reader = RequestReader()
    reader.feed(sent)
    reader.head()

    assert reader.arrived is arrived

    reader.body()

    assert reader.arrived is (arrived or sent.startswith(CHUNKED))
