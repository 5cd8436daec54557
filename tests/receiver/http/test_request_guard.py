"""What surrounds every request, tested over a real server on a loopback socket.

Long because all of it needs the same server, on a real socket.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

import httpx2 as httpx
import pytest
from support.guarding import LIMIT, MAX_HEADER_BYTES, MAX_HEADERS, SECRET, Edge, exchange, lines, problem_of, serving

from receiver.http.request_guard import RequestGuard
from receiver.http.telemetry import Metrics

if TYPE_CHECKING:
    from starlette.types import Message, Scope

#: The numbers in the contract.


async def test_an_honest_request_passes_and_gets_the_headers_of_every_answer() -> None:
    edge = Edge()
    async with serving(edge.app) as port:
        head = b"POST /echo HTTP/1.1\r\n" + lines("Content-Type: application/json", "Content-Length: 2")
        answer = await exchange(port, head, b"[]")

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"\r\n\r\n[]")
    assert b"cache-control: no-store\r\n" in answer
    assert b"x-content-type-options: nosniff\r\n" in answer


async def test_headers_that_a_handler_set_are_not_doubled() -> None:
    async with serving(Edge().app) as port:
        answer = await exchange(port, b"GET /page HTTP/1.1\r\n" + lines())

    assert answer.count(b"cache-control: ") == 1
    assert b"cache-control: no-store\r\n" in answer
    assert answer.count(b"x-content-type-options: nosniff\r\n") == 1


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_a_declared_body_over_the_limit_is_refused_before_the_endpoint_even_if_it_would_ignore_it(
    method: str,
) -> None:
    edge = Edge()
    async with serving(edge.app) as port:
        head = f"{method} /ignores/x HTTP/1.1\r\n".encode()
        answer = await exchange(port, head + lines(f"Content-Length: {LIMIT + 1}"))

    assert problem_of(answer) == "too-large"
    assert not edge.effects


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_chunked_body_over_the_limit_is_refused_before_an_endpoint_that_ignores_it(method: str) -> None:
    edge = Edge()
    async with serving(edge.app) as port:
        head = f"{method} /ignores/x HTTP/1.1\r\n".encode() + lines("Transfer-Encoding: chunked")
        answer = await exchange(port, head, *[b"64\r\n" + b"x" * 100 + b"\r\n"] * 11)

    assert problem_of(answer) == "too-large"
    assert not edge.effects


async def test_a_chunked_body_over_the_limit_is_refused_where_the_endpoint_reads_it() -> None:
    edge = Edge()
    async with serving(edge.app) as port:
        head = b"POST /echo HTTP/1.1\r\n" + lines("Content-Type: application/json", "Transfer-Encoding: chunked")
        answer = await exchange(port, head, *[b"64\r\n" + b" " * 100 + b"\r\n"] * 11)

    assert problem_of(answer) == "too-large"
    assert not edge.effects


@pytest.mark.parametrize(
    ("method", "path", "framing"),
    [
        ("GET", "/ignores/x", "Transfer-Encoding: chunked"),
        ("DELETE", "/ignores/x", "Transfer-Encoding: chunked"),
        ("DELETE", "/ignores/x", "Content-Length: 10"),
        ("POST", "/echo", "Transfer-Encoding: chunked"),
        ("POST", "/echo", "Content-Length: 10"),
    ],
)
async def test_a_body_that_does_not_arrive_in_time_is_a_408_without_effect(
    method: str, path: str, framing: str
) -> None:
    edge = Edge(body_seconds=0.05)
    async with serving(edge.app) as port:
        head = f"{method} {path} HTTP/1.1\r\n".encode() + lines("Content-Type: application/json", framing)
        answer = await exchange(port, head, b"1\r\n")

    assert problem_of(answer) == "request-timeout"
    assert b"connection: close\r\n" in answer
    assert not edge.effects


async def test_a_body_on_a_get_that_is_small_and_whole_changes_nothing() -> None:
    edge = Edge()
    async with serving(edge.app) as port:
        for body in (lines("Transfer-Encoding: chunked") + b"1\r\nx\r\n0\r\n\r\n", lines("Content-Length: 1") + b"x"):
            answer = await exchange(port, b"GET /ignores/x HTTP/1.1\r\n" + body)
            assert answer.endswith(b"\r\n\r\ndone")

    assert edge.effects == {"ignores": 2}


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/ignores/x"), ("DELETE", "/ignores/x"), ("POST", "/echo")],
    ids=["GET", "DELETE", "POST"],
)
async def test_a_body_that_is_cut_off_has_no_effect_and_is_no_error(
    method: str, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    edge = Edge()
    with caplog.at_level(logging.INFO):
        async with serving(edge.app) as port:
            head = f"{method} {path} HTTP/1.1\r\n".encode()
            head += lines("Content-Type: application/json", "Transfer-Encoding: chunked")
            await exchange(port, head, b"2\r\n[]\r\n", hang_up=True)
            await edge.finished.wait()

    assert " 499 " in caplog.text
    assert not edge.effects
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


async def test_too_many_headers_are_a_431() -> None:
    edge = Edge()
    async with serving(edge.app) as port:
        enough = await exchange(port, b"GET /ignores/x HTTP/1.1\r\n" + lines(*["A: b"] * (MAX_HEADERS - 1)))
        one_more = await exchange(port, b"GET /ignores/x HTTP/1.1\r\n" + lines(*["A: b"] * MAX_HEADERS))
        flood = await exchange(port, b"GET /ignores/x HTTP/1.1\r\n" + lines(*(f"A{n}: b" for n in range(10_000))))

    assert enough.endswith(b"done")
    assert problem_of(one_more) == "headers-too-large"
    assert problem_of(flood) == "headers-too-large"
    assert edge.effects == {"ignores": 1}


async def test_headers_that_are_too_large_in_all_are_a_431() -> None:
    edge = Edge()
    rest = MAX_HEADER_BYTES - len("hostevil.exampleab")
    async with serving(edge.app) as port:
        enough = await exchange(port, b"GET /ignores/x HTTP/1.1\r\n" + lines("a: " + "x" * (rest - 1), "b: "))
        one_more = await exchange(port, b"GET /ignores/x HTTP/1.1\r\n" + lines("a: " + "x" * rest, "b: x"))

    assert enough.endswith(b"done")
    assert problem_of(one_more) == "headers-too-large"
    assert b"connection: close\r\n" in one_more
    assert edge.effects == {"ignores": 1}


async def test_the_length_given_in_two_ways_never_reaches_an_endpoint_on_a_real_socket() -> None:
    edge = Edge()
    async with serving(edge.app) as port:
        head = b"POST /ignores/x HTTP/1.1\r\n" + lines("Content-Length: 3", "Transfer-Encoding: chunked")
        answer = await exchange(port, head, b"0\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert not edge.effects


@pytest.mark.parametrize(
    "framing",
    [
        pytest.param([(b"content-length", b"3"), (b"transfer-encoding", b"chunked")], id="both"),
        pytest.param([(b"transfer-encoding", b"chunked"), (b"content-length", b"0")], id="both, the other way round"),
        pytest.param([(b"content-length", b"3"), (b"content-length", b"3")], id="twice"),
        pytest.param([(b"content-length", b"3"), (b"content-length", b"4")], id="two lengths"),
        pytest.param([(b"content-length", b"-1")], id="negative"),
        pytest.param([(b"content-length", b"")], id="empty"),
    ],
)
async def test_an_ambiguous_length_is_a_400_whatever_the_server_lets_through(
    framing: list[tuple[bytes, bytes]],
) -> None:
    edge = Edge()
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {"type": "http", "method": "POST", "path": "/ignores/x", "headers": framing, "query_string": b""}
    await edge.app(scope, receive, send)

    assert sent[0]["status"] == 400
    assert (b"connection", b"close") in sent[0]["headers"]
    assert json.loads(sent[1]["body"])["type"] == "urn:countersign:malformed-body"
    assert not edge.effects


async def test_a_foreign_host_is_never_reflected() -> None:
    async with serving(Edge().app) as port:
        for line in (b"GET /ignores/x/", b"GET /page/", b"GET //evil.example", b"PUT /echo", b"POST /refuses"):
            answer = await exchange(port, line + b" HTTP/1.1\r\n" + lines("X-Forwarded-Host: evil.example"))
            assert b"evil" not in answer
            assert b"location" not in answer.lower()
            assert problem_of(answer) in {"not-found", "method-not-allowed", "invalid-token"}


async def test_a_crash_is_a_500_whose_text_is_neither_answered_nor_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with serving(Edge().app) as port:
            answer = await exchange(port, b"GET /fails HTTP/1.1\r\n" + lines())

    assert problem_of(answer) == "internal-error"
    assert SECRET not in caplog.text
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1


async def test_a_crash_outside_the_framework_is_a_500_too(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(scope: Scope, receive: object, send: object) -> None:
        raise ValueError(SECRET)

    with caplog.at_level(logging.DEBUG):
        async with serving(RequestGuard(broken, max_body=LIMIT, metrics=Metrics())) as port:
            answer = await exchange(port, b"GET / HTTP/1.1\r\n" + lines())

    assert problem_of(answer) == "internal-error"
    assert "ValueError" in caplog.text
    assert SECRET not in caplog.text


async def test_an_answer_that_breaks_off_is_cut_and_not_ended_as_if_whole(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with serving(Edge().app) as port:
            answer = await exchange(port, b"GET /breaks HTTP/1.1\r\n" + lines())

    assert answer.endswith(b"4\r\npart\r\n")
    assert SECRET not in caplog.text
    assert "ValueError" in caplog.text


async def test_an_answer_that_breaks_off_is_an_error_to_whatever_server_without_the_reason() -> None:
    async def nothing(*_: object) -> Any:
        await asyncio.sleep(0)

    scope: Scope = {"type": "http", "method": "GET", "path": "/breaks", "headers": [], "query_string": b""}
    with pytest.raises(RuntimeError, match=r"^a response was cut short$") as cut:
        await Edge().app(scope, nothing, nothing)

    assert cut.value.__cause__ is None
    assert cut.value.__suppress_context__


async def test_requests_are_counted_and_logged_by_route_and_never_by_path(caplog: pytest.LogCaptureFixture) -> None:
    edge = Edge()
    with caplog.at_level(logging.INFO):
        async with serving(edge.app) as port:
            await exchange(port, b"GET /ignores/secret-token?also=secret HTTP/1.1\r\n" + lines())
            await exchange(port, b"PUT /ignores/secret-token HTTP/1.1\r\n" + lines())
            await exchange(port, b"GET /secret-token HTTP/1.1\r\n" + lines())
            await exchange(port, b"GET /secret-token HTTP/1.1\r\n" + lines(*["A: b"] * 200))

    text = edge.metrics.render()[0].decode()
    for labels in (
        'method="GET",route="/ignores/{token}",status="200"',
        'method="PUT",route="/ignores/{token}",status="405"',
        'method="GET",route="unmatched",status="404"',
        'method="GET",route="unmatched",status="431"',
    ):
        assert f"countersign_request_seconds_count{{{labels}}} 1.0" in text

    assert "secret" not in text
    assert "secret" not in caplog.text
    assert "GET /ignores/{token} 200 " in caplog.text


async def test_other_kinds_of_connection_pass_untouched() -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: object, send: object) -> None:
        seen.append(scope["type"])

    async def nothing(*_: object) -> Any:
        raise AssertionError

    await RequestGuard(app, max_body=LIMIT, metrics=Metrics())({"type": "lifespan"}, nothing, nothing)

    assert seen == ["lifespan"]


async def test_the_guard_works_with_the_framework_s_own_client() -> None:
    edge = Edge()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(edge.app), base_url="http://testserver") as client:
        answer = await client.request("GET", "/ignores/x", content=b"x" * 10)

    assert answer.text == "done"
