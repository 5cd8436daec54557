"""The head of a request: what the application gets of its target, its method and its headers."""

from __future__ import annotations

import pytest
from support.wire import CHUNKED, HOST, accepted, posted

from receiver.http.protocol.framing import RequestReader

OFFERING = [
    [b"Connection: Upgrade", b"Upgrade: h2c"],
    [b"Connection: keep-alive, Upgrade", b"Upgrade: websocket"],
    [b"connection: upgrade", b"upgrade: foo"],
    [b"CONNECTION: UPGRADE", b"UPGRADE: TLS/1.0, h2c"],
    [b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__"],
    [b"Connection: Upgrade", b"Connection: keep-alive", b"Upgrade: a", b"Upgrade: b"],
    [b"Connection: ,upgrade,", b"Upgrade: "],
    [b"Upgrade: h2c"],
    [b"Connection: Upgrade"],
]


@pytest.mark.parametrize("offer", OFFERING)
@pytest.mark.parametrize(
    "framing", [(b"Content-Length: 5", b"hello"), (b"Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n")]
)
def test_an_offer_to_change_the_protocol_is_passed_over(offer: list[bytes], framing: tuple[bytes, bytes]) -> None:
    first, second = accepted(posted(*offer, framing[0], body=framing[1]) + posted())

    assert first.body == b"hello"
    assert not [name for name, _ in first.headers if name in {b"upgrade", b"http2-settings"}]
    assert second.body == b""


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/", b"/", b""),
        (b"/a%2Fb?c=d?e", b"/a%2Fb", b"c=d?e"),
        (b"http://a.example/b?c", b"/b", b"c"),
        (b"HTTPS://[::1]:8000", b"/", b""),
        (b"http://other.example?q", b"/", b"q"),
        (b"//a", b"//a", b""),
    ],
)
def test_a_target_in_origin_or_absolute_form_is_a_path_and_a_query(target: bytes, path: bytes, query: bytes) -> None:
    (request,) = accepted(b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n")

    assert (request.path, request.query) == (path, query)


def test_http_1_0_clients_may_omit_the_host_and_are_disconnected() -> None:
    reader = RequestReader()
    reader.feed(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\nExpect: 100-continue\r\n\r\n")
    head = reader.head()

    assert head is not None
    assert (head.version, head.keep_alive, head.expects_continue) == ("1.0", False, False)


@pytest.mark.parametrize("value", [b"close", b"Close", b"keep-alive, close", b"close, Upgrade"])
def test_a_client_that_asks_to_close_is_disconnected(value: bytes) -> None:
    reader = RequestReader()
    reader.feed(posted(b"Connection: " + value))
    head = reader.head()

    assert head is not None
    assert not head.keep_alive


@pytest.mark.parametrize("method", [b"VERSION-CONTROL", b"M-SEARCH"])
def test_a_method_may_have_hyphens(method: bytes) -> None:
    assert accepted(method + b" / HTTP/1.1\r\n" + HOST + b"\r\n")[0].method == method


@pytest.mark.parametrize("length", [b"1" + b"0" * 30, b"9" * 60_000])
def test_a_length_beyond_all_reason_is_a_body_that_never_ends(length: bytes) -> None:
    reader = RequestReader()
    reader.feed(posted(b"Content-Length: " + length, body=b"hello"))

    assert reader.head() is not None
    assert reader.body() == b"hello"
    assert reader.left > 10**16


def test_leading_zeros_of_a_length_change_nothing() -> None:
    assert accepted(posted(b"Content-Length: " + b"0" * 40 + b"5", body=b"hello"))[0].body == b"hello"
    assert accepted(CHUNKED + b"0005\r\nhello\r\n000\r\n\r\n")[0].body == b"hello"
