"""One request and its response: what an application may send, and what its client sees if it sends anything else."""

from __future__ import annotations

import asyncio
import contextlib
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest
from support.connecting import GET, LAST, NEVER, PART, SMUGGLED, START, TEN, connected, post, reset
from support.plant import PATIENCE, pause
from support.wire import REFUSING, Witness, answers, said, serving, told

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param}


async def test_a_client_that_expects_100_continue_gets_it_when_the_body_is_read() -> None:
    witness = Witness()

    async with serving(witness.app, NEVER) as running, connected(running) as client:
        await client.send(post("/", b"Expect: 100-continue", length=2))
        assert await client.answer() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"ab")
        assert (await client.answer()).startswith(b"HTTP/1.1 200 ")
        await client.send(GET)
        assert (await client.answer()).startswith(b"HTTP/1.1 200 ")


async def test_no_100_continue_is_sent_once_the_body_has_arrived() -> None:
    async with serving(Witness().app) as running:
        statuses = [
            one.status for one in await told(running, post("/", b"Expect: 100-continue", length=2) + b"ab" + GET)
        ]

    assert statuses == [200, 200]


async def test_a_refused_client_that_expects_100_continue_may_send_the_body_or_not() -> None:
    """The connection closes: a body that is sent after all could not be told apart from a request."""
    for then in (b"", SMUGGLED):
        witness = Witness()

        async with serving(witness.app) as running:
            (only,) = await told(
                running, post(REFUSING, b"Expect: 100-continue", length=len(SMUGGLED)), then, apart=0.05
            )

        assert (only.status, only.headers["connection"]) == (401, "close")
        assert witness.paths() == [REFUSING]


async def run(app: Any, request: bytes = GET) -> bytes:
    async with serving(app) as running:
        return await said(running, request)


def saying(*messages: Message) -> Any:
    async def app(_: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return app


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


async def test_what_is_sent_after_the_response_changes_nothing() -> None:
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


async def test_a_request_knows_nothing_of_the_context_of_the_one_before() -> None:
    variable = ContextVar("variable", default="its own")
    seen: list[str] = []

    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await receive()
        seen.append(variable.get())
        variable.set("that of another request")
        await send(START)
        await send(LAST)

    await run(app, GET * 3)

    assert seen == ["its own"] * 3
