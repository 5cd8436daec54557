"""Every wait of a connection has an end: a head, an idle client, the rest of a body, a client that does not read."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from support.connecting import GET, NEVER, SOON, connected, post
from support.plant import pause
from support.wire import REFUSING, Running, Witness, answers, serving, told

from receiver.http.protocol.limits import Limits

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param}


@pytest.mark.parametrize("begun", [b"G", b"\r\nG", b"GET / HTTP/1.1\r\nHost: a\r\n"])
async def test_what_was_begun_after_an_answer_has_its_time(begun: bytes) -> None:
    async with serving(Witness().app, replace(NEVER, head_seconds=SOON)) as running, connected(running) as client:
        await client.send(GET)
        await client.answer()
        await client.send(begun)
        (only,) = answers(await client.rest())

    assert only.problem == "request-timeout"


async def test_blank_lines_after_an_answer_have_their_time_and_no_answer() -> None:
    """Some clients end a body with one. A response to that would be read as the response to their next request."""
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
    """A refusal in the middle of a flood: if the connection closed at once, the network would discard the response."""
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
    """A client that sends a request and does not read."""
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
