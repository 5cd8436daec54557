"""A connection: one request has one answer, whatever it offers, and nothing keeps the connection open for good."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from support.plant import PATIENCE, pause
from support.wire import MAX_BODY, REFUSING, Running, Witness, answers, said, serving, told
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from receiver.http.protocol.limits import Limits

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

#: What a test does not wait for never happens; what it waits for happens soon.
NEVER = Limits(head_seconds=600, idle_seconds=600, rest_seconds=600, rest_bytes=1 << 30, unsent_seconds=600)
SOON = 0.2

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
UPGRADE = b"Connection: keep-alive, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param}


def post(path: str, *headers: bytes, length: int | None = None) -> bytes:
    lines = [f"POST {path} HTTP/1.1".encode(), b"Host: a", *headers]
    lines += [] if length is None else [b"Content-Length: %d" % length]
    return b"\r\n".join([*lines, b"", b""])


class Client:
    """A connection that stays open, and is read only when that is asked for."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> bytes:
        """Return the next answer."""
        async with asyncio.timeout(PATIENCE):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
            return head + await self.reader.readexactly(length)

    async def rest(self) -> bytes:
        """Return what comes until the server closes; a reset is an error."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read()


def reset(client: Client) -> None:
    """Leave as a process that dies does: whatever is sent to it is refused."""
    client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.writer.transport.abort()


@contextlib.asynccontextmanager
async def connected(running: Running) -> Any:
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


# One request, one answer


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
    """The attack is real. Once uvicorn has mended it, this test may go."""
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


@pytest.mark.parametrize("refuses", [False, True], ids=["awaited", "answered already"])
async def test_a_body_whose_chunks_are_none_has_one_answer_and_nothing_after_it_is_read(*, refuses: bool) -> None:
    witness = Witness()
    head = post(REFUSING if refuses else "/a", b"Transfer-Encoding: chunked")

    pieces = [head, b"5\r\nhello", b"!!\r\n0\r\n\r\n" + SMUGGLED]

    async with serving(witness.app, NEVER) as running:
        (only,) = await told(running, *pieces, apart=0.05, hang_up=False)

    assert (only.status, only.problem) == ((401, "") if refuses else (400, "malformed-body"))
    assert "/smuggled" not in witness.paths()


async def test_an_application_of_other_making_gets_the_same_answer_to_a_malformed_body() -> None:
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


# Expect: 100-continue


async def test_whoever_waits_for_our_word_is_told_to_go_on_when_the_body_is_wanted() -> None:
    witness = Witness()

    async with serving(witness.app, NEVER) as running, connected(running) as client:
        await client.send(post("/", b"Expect: 100-continue", length=2))
        assert await client.answer() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"ab")
        assert (await client.answer()).startswith(b"HTTP/1.1 200 ")
        await client.send(GET)
        assert (await client.answer()).startswith(b"HTTP/1.1 200 ")


async def test_nobody_is_told_to_go_on_who_has_done_so() -> None:
    async with serving(Witness().app) as running:
        statuses = [
            one.status for one in await told(running, post("/", b"Expect: 100-continue", length=2) + b"ab" + GET)
        ]

    assert statuses == [200, 200]


async def test_whoever_waits_for_our_word_and_is_refused_may_send_the_body_or_not() -> None:
    """The connection closes: nobody could tell a body that is sent after all from a request."""
    for then in (b"", SMUGGLED):
        witness = Witness()

        async with serving(witness.app) as running:
            (only,) = await told(
                running, post(REFUSING, b"Expect: 100-continue", length=len(SMUGGLED)), then, apart=0.05
            )

        assert (only.status, only.headers["connection"]) == (401, "close")
        assert witness.paths() == [REFUSING]


# Nothing stays for good


@pytest.mark.parametrize("begun", [b"G", b"\r\nG", b"GET / HTTP/1.1\r\nHost: a\r\n"])
async def test_what_was_begun_after_an_answer_has_its_time(begun: bytes) -> None:
    async with serving(Witness().app, replace(NEVER, head_seconds=SOON)) as running, connected(running) as client:
        await client.send(GET)
        await client.answer()
        await client.send(begun)
        (only,) = answers(await client.rest())

    assert only.problem == "request-timeout"


async def test_blank_lines_after_an_answer_have_their_time_and_no_answer() -> None:
    """Some clients end a body with one. An answer to that would be read as the answer to their next request."""
    async with serving(Witness().app, replace(NEVER, head_seconds=SOON)) as running, connected(running) as client:
        await client.send(GET)
        await client.answer()
        await client.send(b"\r\n")
        await pause(SOON / 4)
        await client.send(b"\r\n")

        assert await client.rest() == b""


async def test_a_head_that_drips_has_no_more_time_than_one_that_does_not() -> None:
    async with serving(Witness().app, replace(NEVER, head_seconds=SOON)) as running, connected(running) as client:
        await client.send(b"GET / HTTP/1.1\r\n")
        asking = asyncio.create_task(client.answer())

        while not asking.done():
            await client.send(b"A: b\r\n")
            await pause(0.01)

        (only,) = answers(asking.result())

    assert only.problem == "request-timeout"


async def test_an_idle_connection_is_closed_without_a_word() -> None:
    async with serving(Witness().app, replace(NEVER, idle_seconds=SOON)) as running, connected(running) as client:
        await client.send(GET)
        await client.answer()

        assert await client.rest() == b""


async def test_an_idle_connection_outlives_the_proxies_idea_of_idle() -> None:
    assert Limits().idle_seconds > 60


@pytest.mark.parametrize("begun", [b"", b"5", b"5\r\nhel", b"5\r\nhello\r\n0\r\nA: b\r\n"])
@pytest.mark.parametrize("framing", [b"Transfer-Encoding: chunked", b"Content-Length: 1000"])
async def test_the_rest_of_a_body_that_was_answered_has_its_time(framing: bytes, begun: bytes) -> None:
    async with serving(Witness().app, replace(NEVER, rest_seconds=SOON)) as running, connected(running) as client:
        await client.send(post(REFUSING, framing))
        assert (await client.answer()).startswith(b"HTTP/1.1 401 ")
        await client.send(begun)

        assert await client.rest() == b""
        await running.deserted()


async def test_the_rest_of_a_body_that_drips_has_no_more_time() -> None:
    async with serving(Witness().app, replace(NEVER, rest_seconds=SOON)) as running, connected(running) as client:
        await client.send(post(REFUSING, length=60_000))
        assert (await client.answer()).startswith(b"HTTP/1.1 401 ")

        with contextlib.suppress(ConnectionError):
            while running.connections:
                await client.send(b"a")
                await pause(0.01)


@pytest.mark.parametrize("framing", [b"Transfer-Encoding: chunked", b"Content-Length: 100000000"])
async def test_the_rest_of_a_body_that_goes_on_and_on_is_not_received(framing: bytes) -> None:
    async with serving(Witness().app, replace(NEVER, rest_bytes=100_000)) as running, connected(running) as client:
        await client.send(post(REFUSING, framing))
        chunk = b"2710\r\n" + b"a" * 10_000 + b"\r\n"

        with contextlib.suppress(ConnectionError):
            for _ in range(10_000):
                await client.send(chunk)

        await running.deserted()


async def test_a_rest_that_is_known_to_be_too_long_closes_with_the_answer() -> None:
    async with serving(Witness().app, replace(NEVER, rest_bytes=1000)) as running:
        (shorter, _) = await told(running, post(REFUSING, length=1000), b"a" * 1000, GET)
        (longer,) = await told(running, post(REFUSING, length=1001), b"a" * 1001, GET)

    assert "connection" not in shorter.headers
    assert longer.headers["connection"] == "close"


async def test_what_was_thrown_away_of_one_body_does_not_count_for_the_next_one() -> None:
    async with serving(Witness().app, replace(NEVER, rest_bytes=1000)) as running, connected(running) as client:
        for _ in range(4):
            await client.send(post(REFUSING, length=600))
            assert (await client.answer()).startswith(b"HTTP/1.1 401 ")
            await client.send(b"a" * 300)
            await pause(0.05)
            await client.send(b"a" * 300)

        await client.send(GET)
        assert (await client.answer()).startswith(b"HTTP/1.1 200 ")


async def test_a_rest_of_very_many_chunks_is_not_received() -> None:
    async with serving(Witness().app, NEVER) as running:
        chunks = b"1\r\na\r\n" * 9000 + b"0\r\n\r\n"
        sent = post(REFUSING, b"Transfer-Encoding: chunked") + chunks + GET

        assert len(await told(running, sent, hang_up=False)) == 1


async def test_a_client_that_still_sends_reads_its_answer_and_no_reset() -> None:
    """A refusal in the middle of a flood: closing at once would make the network throw the answer away."""
    async with serving(Witness().app, replace(NEVER, rest_bytes=1 << 23)) as running:
        flood = b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: %b\r\n" % (number, b"a" * 1000) for number in range(2000))
        (only,) = await told(running, flood, b"a" * 1_000_000)

    assert only.problem == "headers-too-large"


async def test_a_client_that_does_not_close_is_closed() -> None:
    async with serving(Witness().app, replace(NEVER, rest_seconds=SOON)) as running, connected(running) as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        await client.rest()
        await running.deserted()


async def test_a_client_that_goes_on_sending_after_the_end_is_closed() -> None:
    async with serving(Witness().app, replace(NEVER, rest_bytes=100_000)) as running, connected(running) as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")

        with contextlib.suppress(ConnectionError):
            for _ in range(10_000):
                await client.send(b"a" * 10_000)

        await running.deserted()


@contextlib.contextmanager
def deaf(running: Running, sent: bytes) -> Any:
    """A client that sends and reads nothing."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", running.port))
        client.sendall(sent)
        yield


@pytest.mark.parametrize("closing", [b"", b"Connection: close\r\n"])
async def test_a_client_that_does_not_read_a_large_answer_is_cut(closing: bytes) -> None:
    async def large(_: Scope, receive: Receive, send: Send) -> None:
        content = b"a" * 30_000_000
        length = (b"content-length", b"%d" % len(content))
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": content})

    async with serving(large, replace(NEVER, unsent_seconds=SOON)) as running:
        with deaf(running, b"GET / HTTP/1.1\r\nHost: a\r\n" + closing + b"\r\n"):
            await pause(SOON / 2)
            assert running.connections == 1
            await running.deserted()


async def test_a_client_that_sends_requests_and_reads_no_answers_is_held_up_and_then_cut() -> None:
    unsent: list[int] = []

    async def app(_: Scope, receive: Receive, send: Send) -> None:
        (protocol,) = running.server.server_state.connections
        unsent.append(protocol._transport.get_write_buffer_size())  # type: ignore[union-attr]
        content = b"a" * 50_000
        length = (b"content-length", b"%d" % len(content))
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": content})

    async with serving(app, replace(NEVER, unsent_seconds=SOON)) as running:
        with deaf(running, GET * 1900):
            while not unsent:
                await pause(0.01)

            await running.deserted()

    assert 0 < len(unsent) < 1900
    assert max(unsent) < 2 * 50_000


async def test_what_is_sent_ahead_stays_in_the_network_while_a_request_is_answered() -> None:
    release = asyncio.Event()

    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await release.wait()
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    async with serving(app, NEVER) as running, connected(running) as client:
        client.writer.write(GET * 400_000)
        await pause(0.3)
        (protocol,) = running.server.server_state.connections
        kept: int = protocol.reader.buffered  # type: ignore[union-attr]
        client.writer.transport.abort()
        release.set()

    assert 64 * 1024 < kept < 1024 * 1024


# What an application does


async def run(app: Any, request: bytes = GET) -> bytes:
    async with serving(app) as running:
        return await said(running, request)


def saying(*messages: Message) -> Any:
    async def app(_: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return app


START: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": []}
TEN = START | {"headers": [(b"Content-Length", b"10")]}
PART: dict[str, Any] = {"type": "http.response.body", "body": b"hello", "more_body": True}
LAST: dict[str, Any] = {"type": "http.response.body", "body": b"hello"}


async def test_an_answer_without_a_length_is_chunked_and_to_old_clients_ends_with_the_connection() -> None:
    new = await run(saying(START, PART, LAST))
    old = await run(saying(START, PART, LAST), b"GET / HTTP/1.0\r\n\r\n")

    assert b"\r\ntransfer-encoding: chunked\r\n" in new
    assert new.endswith(b"\r\n\r\n5\r\nhello\r\n5\r\nhello\r\n0\r\n\r\n")
    assert b"chunked" not in old
    assert old.endswith(b"connection: close\r\n\r\nhellohello")


async def test_an_answer_in_parts_is_one_answer() -> None:
    (only,) = answers(await run(saying(TEN, PART, LAST)))

    assert only.body == b"hellohello"


@pytest.mark.parametrize(
    "app",
    [
        saying(),
        saying(START),
        saying(LAST),
        saying(START, START),
        saying(TEN, LAST),
        saying(TEN, PART | {"body": b"a" * 11}),
        saying(START | {"headers": [(b"a", b"b\r\nc: d")]}),
        saying(START | {"headers": [(b"a b", b"c")]}),
    ],
    ids=[
        "nothing",
        "no body",
        "no head",
        "two heads",
        "too short",
        "too long",
        "a value that ends early",
        "a bad name",
    ],
)
async def test_an_application_that_makes_no_answer_is_a_500(app: Any, caplog: pytest.LogCaptureFixture) -> None:
    (only,) = answers(await run(app))

    assert (only.status, only.problem) == (500, "internal-error")
    assert caplog.text


@pytest.mark.parametrize("then", [[], [LAST | {"body": b"a" * 99}], [START]], ids=["nothing", "too much", "a head"])
async def test_an_answer_that_breaks_off_is_cut_and_not_ended_as_if_whole(then: list[Message]) -> None:
    async with serving(saying(TEN, PART, *then)) as running, connected(running) as client:
        await client.send(GET)

        with contextlib.suppress(ConnectionError):
            assert (await client.rest()).endswith(b"\r\n\r\nhello")


async def test_what_is_said_after_the_answer_changes_nothing() -> None:
    (only,) = answers(await run(saying(TEN, PART, LAST, LAST)))

    assert only.body == b"hellohello"


async def test_an_application_hears_that_its_client_is_gone() -> None:
    heard = asyncio.Event()

    async def app(_: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "http.request"
        assert (await receive())["type"] == "http.disconnect"
        await send(START)
        heard.set()

    async with serving(app, NEVER) as running, connected(running) as client:
        await client.send(GET)
        await pause(0.05)
        reset(client)
        async with asyncio.timeout(PATIENCE):
            await heard.wait()


async def test_the_text_of_an_application_s_error_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def app(_: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("a secret")

    (only,) = answers(await run(app))

    assert only.problem == "internal-error"
    assert "ValueError" in caplog.text
    assert "a secret" not in caplog.text


async def test_a_large_body_is_received_no_faster_than_it_is_read() -> None:
    size = 5_000_000
    parts: list[int] = []

    async def app(_: Scope, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            parts.append(len(message["body"]))
            await pause(0)
            if not message["more_body"]:
                break

        await send(START)
        await send(LAST)

    answer = await run(app, post("/", length=size) + b"a" * size)

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert sum(parts) == size
    assert max(parts) < 1024 * 1024


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
    """Whoever waits for a workflow is answered by the signal, before the server itself has noticed."""
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


async def test_a_body_limit_is_the_application_s_and_its_answer_arrives() -> None:
    async with serving(Witness().app) as running:
        (declared,) = await told(running, post("/", length=10 * MAX_BODY), b"a" * 10 * MAX_BODY, apart=0.05)
        counted = await told(
            running, post("/", b"Transfer-Encoding: chunked"), b"20000\r\n" + b"a" * 0x20000, b"\r\n0\r\n\r\n" + GET
        )

    assert declared.problem == "too-large"
    assert [one.problem for one in counted] == ["too-large", ""]
