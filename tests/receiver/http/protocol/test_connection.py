"""A connection: each request gets one response, in order, whatever it offers, until the server stops."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING, Any

import pytest
from support.connecting import GET, LAST, NEVER, SMUGGLED, TEN, UPGRADE, connected, post
from support.wire import MAX_BODY, REFUSING, Witness, answers, said, serving, told
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    from conftest import Start
    from starlette.types import Receive, Scope, Send


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param}


# One request, one response


@pytest.mark.parametrize("apart", [0.0, 0.05], ids=["together", "late"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_an_offer_to_change_the_protocol_never_makes_a_request_of_a_body(apart: float, *, chunked: bool) -> None:
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED) if chunked else SMUGGLED
    head = post(
        "/a",
        UPGRADE.strip(),
        *([b"Transfer-Encoding: chunked"] if chunked else []),
        length=None if chunked else len(body),
    )
    witness = Witness()

    async with serving(witness.app) as running:
        pieces = [head, body, GET] if apart else [head + body + GET]
        first, second = await told(running, *pieces, apart=apart)

    assert first.echo["body"].encode() == SMUGGLED
    assert second.echo["path"] == "/"
    assert witness.paths() == ["/a", "/"]
    assert "upgrade" not in witness.seen[0].headers


async def test_the_same_is_two_requests_to_uvicorn_s_own_connections() -> None:
    """The attack works against uvicorn. Remove this test once uvicorn has fixed that."""
    witness = Witness()

    async with serving(witness.app, http=HttpToolsProtocol) as running, connected(running) as client:
        await client.send(post("/a", UPGRADE.strip(), length=len(SMUGGLED)))
        await client.answer()
        await client.send(SMUGGLED)
        await client.answer()

    assert witness.paths() == ["/a", "/smuggled"]


async def test_requests_sent_ahead_are_answered_one_by_one_in_order() -> None:
    witness = Witness()
    sent = b"".join(post(f"/{number}", length=3) + b"%03d" % number for number in range(200))

    async with serving(witness.app) as running:
        told_back = await told(running, sent)

    assert [one.echo["body"] for one in told_back] == [f"{number:03}" for number in range(200)]


async def test_what_follows_a_request_that_closes_is_not_read() -> None:
    witness = Witness()

    for first in (
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
    ):
        async with serving(witness.app) as running:
            (only,) = await told(running, first + SMUGGLED)
            assert only.headers["connection"] == "close"

    assert "/smuggled" not in witness.paths()


async def test_what_follows_a_malformed_request_is_not_read() -> None:
    witness = Witness()

    async with serving(witness.app) as running:
        good, bad = await told(running, GET + b"GET / HTTP/1.1\r\n\r\n" + SMUGGLED, SMUGGLED)

    assert (good.status, bad.status, bad.problem, bad.headers["connection"]) == (200, 400, "malformed-body", "close")
    assert witness.paths() == ["/"]


@pytest.mark.parametrize(
    ("sent", "status", "reason"),
    [
        (b"GET /secret HTTP/1.1\r\n\r\n", 400, "there must be exactly one well-formed Host"),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400, "the request line is malformed"),
        (GET[:-2] + b"X-Secret: secret\r\n" * 500 + b"\r\n", 431, "the head has too many lines"),
        (b"GET /" + b"secret" * 20_000, 431, "the head is too large"),
    ],
    ids=["malformed", "tls", "many", "long"],
)
async def test_what_cannot_be_read_as_a_request_has_an_access_line_too(
    start: Start, sent: bytes, status: int, reason: str
) -> None:
    log = start("info")

    async with serving(Witness().app) as running:
        (refused,) = await told(running, sent)

    lines = [line for line in log.getvalue().splitlines() if " receiver.access " in line]

    assert refused.status == status
    assert [line.partition(" receiver.access ")[2] for line in lines] == [
        f"other unmatched {status} client=127.0.0.1: {reason}"
    ]


@pytest.mark.parametrize("refuses", [False, True], ids=["awaited", "answered already"])
async def test_a_body_with_malformed_chunks_gets_one_response_and_nothing_after_it_is_read(*, refuses: bool) -> None:
    witness = Witness()
    head = post(REFUSING if refuses else "/a", b"Transfer-Encoding: chunked")

    pieces = [head, b"5\r\nhello", b"!!\r\n0\r\n\r\n" + SMUGGLED]

    async with serving(witness.app, NEVER) as running:
        (only,) = await told(running, *pieces, apart=0.05, hang_up=False)

    assert (only.status, only.problem) == ((401, "") if refuses else (400, "malformed-body"))
    assert "/smuggled" not in witness.paths()


async def test_a_malformed_body_gets_the_same_refusal_over_any_application() -> None:
    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await receive()

    async with serving(app) as running:
        (only,) = await told(
            running, post("/", b"Transfer-Encoding: chunked"), b"1\r\na\r\n", b"nonsense\r\n", apart=0.05
        )

    assert (only.status, only.problem) == (400, "malformed-body")


@pytest.mark.parametrize("late", [False, True])
async def test_the_body_of_a_refused_request_is_thrown_away_and_the_connection_goes_on(*, late: bool) -> None:
    witness = Witness()
    pieces = [post(REFUSING, length=len(SMUGGLED)), SMUGGLED, GET]

    async with serving(witness.app) as running:
        refused, second = await told(running, *(pieces if late else [b"".join(pieces)]), apart=0.05)

    assert (refused.status, second.status) == (401, 200)
    assert witness.paths() == [REFUSING, "/"]


@pytest.mark.parametrize("method", [b"GET", b"DELETE", b"OPTIONS", b"FOO"])
async def test_a_body_of_any_method_is_a_body(method: bytes) -> None:
    witness = Witness()

    async with serving(witness.app) as running:
        sent = method + b" / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(SMUGGLED)
        first, second = await told(running, sent + SMUGGLED + GET)

    assert (first.echo["body"].encode(), second.echo["body"]) == (SMUGGLED, "")


async def test_an_answer_to_head_has_no_body() -> None:
    async with serving(Witness().app) as running:
        head = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
        first, second = answers(await said(running, head + GET), without_body=[True])

    assert (first.body, second.echo["path"]) == (b"", "/")
    assert first.headers["content-length"] == second.headers["content-length"]


async def test_a_client_that_has_ended_its_side_is_still_answered() -> None:
    async with serving(Witness().app) as running:
        one, two = await told(running, post("/", length=2) + b"ab" + GET, apart=0)

    assert (one.echo["body"], two.status) == ("ab", 200)


async def test_a_client_that_ends_in_the_middle_of_a_body_is_not_answered() -> None:
    witness = Witness()

    async with serving(witness.app, NEVER) as running:
        assert await said(running, post("/", length=2) + b"a") == b""
        await running.deserted()

    assert witness.seen == []


# Stopping


async def test_a_request_under_way_is_answered_before_the_server_stops_and_idle_connections_are_closed() -> None:
    begun, release = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/slow":
            begun.set()
            await release.wait()

        content = json.dumps(scope["path"]).encode()
        length = (b"content-length", b"%d" % len(content))
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": content})

    async with serving(app, NEVER) as running, connected(running) as idle, connected(running) as slow:
        await idle.send(GET)
        await idle.answer()
        await slow.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        await begun.wait()
        running.shut()
        assert await idle.rest() == b""
        release.set()
        (only,) = answers(await slow.rest())

    assert (only.body, only.headers["connection"]) == (b'"/slow"', "close")


async def test_an_answer_that_stopping_brings_about_says_that_it_is_the_last() -> None:
    """Requests that wait for a workflow get their response at the signal, before the server itself has noticed it."""
    begun, release = asyncio.Event(), asyncio.Event()

    async def app(_: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        await release.wait()
        await send(TEN)
        await send(LAST | {"body": b"helloworld"})

    async with serving(app, NEVER, stopping=release.set) as running, connected(running) as client:
        await client.send(GET)
        await begun.wait()
        running.server.stop(signal.SIGTERM)
        (only,) = answers(await client.rest())

    assert only.headers["connection"] == "close"


async def test_the_application_limits_bodies_and_its_refusal_arrives() -> None:
    async with serving(Witness().app) as running:
        (declared,) = await told(running, post("/", length=10 * MAX_BODY), b"a" * 10 * MAX_BODY, apart=0.05)
        counted = await told(
            running, post("/", b"Transfer-Encoding: chunked"), b"20000\r\n" + b"a" * 0x20000, b"\r\n0\r\n\r\n" + GET
        )

    assert declared.problem == "too-large"
    assert [one.problem for one in counted] == ["too-large", ""]
