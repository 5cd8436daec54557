"""Bodies are read with a limit and a deadline, and parsed as strict JSON."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import httpx2 as httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from receiver.http.bodies import INLINE_BYTES, check_declared, json_body, parse_json, read_body, receive_body
from receiver.http.problems import Problem, exception_handlers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from starlette.types import Message

LIMIT = 1000


class Arriving:
    """An ASGI receive channel on which the given chunks arrive, then nothing more."""

    def __init__(self, chunks: Sequence[bytes], *, whole: bool = True, gone: bool = False) -> None:
        self.messages: list[Message] = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
        if whole:
            self.messages.append({"type": "http.request"})

        if gone:
            self.messages.append({"type": "http.disconnect"})

        self.received = 0

    async def __call__(self) -> Message:
        if not self.messages:
            await asyncio.Event().wait()

        self.received += 1
        return self.messages.pop(0)


def request_with(arriving: Arriving, *headers: tuple[str, str]) -> Request:
    raw = [(name.encode(), value.encode()) for name, value in headers]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw}, arriving)


async def post(
    content: bytes | AsyncIterator[bytes],
    headers: Sequence[tuple[str, str]] = (("content-type", "application/json"),),
    limit: int = LIMIT,
) -> httpx.Response:
    async def endpoint(request: Request) -> JSONResponse:
        body = await json_body(request, limit=limit)
        return JSONResponse({"text": body.text, "value": body.value})

    app = Starlette(routes=[Route("/", endpoint, methods=["POST"])], exception_handlers=exception_handlers)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://testserver") as client:
        return await client.post("/", content=content, headers=list(headers))


async def test_a_body_in_pieces_is_put_together() -> None:
    assert await receive_body(Arriving([b"ab", b"", b"c"]), limit=3) == b"abc"


async def test_a_body_of_exactly_the_limit_is_taken_and_one_byte_more_is_not() -> None:
    assert await receive_body(Arriving([b"x" * LIMIT]), limit=LIMIT) == b"x" * LIMIT

    with pytest.raises(Problem, match="too-large"):
        await receive_body(Arriving([b"x" * LIMIT, b"x"]), limit=LIMIT)


async def test_an_endless_body_is_given_up_as_soon_as_it_is_too_large() -> None:
    arriving = Arriving([b"x" * 100] * 1000)

    with pytest.raises(Problem, match="too-large"):
        await receive_body(arriving, limit=LIMIT)

    assert arriving.received == 11


async def test_a_declared_length_over_the_limit_is_refused_before_anything_is_read() -> None:
    arriving = Arriving([])
    for declared in (str(LIMIT + 1), "9" * 30, "1" + "0" * 10_000):
        with pytest.raises(Problem, match="too-large"):
            await read_body(request_with(arriving, ("content-length", declared)), limit=LIMIT)

    assert arriving.received == 0


async def test_a_body_that_does_not_end_in_time_is_a_408() -> None:
    with pytest.raises(Problem, match="request-timeout"):
        await receive_body(Arriving([b"x"], whole=False), limit=LIMIT, seconds=0.01)


async def test_a_client_that_leaves_is_not_answered_and_its_piece_of_a_body_not_used() -> None:
    with pytest.raises(ClientDisconnect):
        await read_body(request_with(Arriving([b"{}"], whole=False, gone=True)), limit=LIMIT)


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"\xff", "The text is not UTF-8."),
        (b"{", "The text is not JSON: "),
        (b"NaN", "The text holds NaN or Infinity."),
    ],
)
def test_the_refusal_of_a_malformed_body_says_what_is_wrong(data: bytes, detail: str) -> None:
    with pytest.raises(Problem) as refused:
        parse_json(data)

    assert str(refused.value.detail).startswith(detail)


def test_a_declared_length_within_the_limit_says_whether_there_is_a_body() -> None:
    assert [check_declared(declared, LIMIT) for declared in (b"0", b"000")] == [False, False]
    assert [check_declared(declared, LIMIT) for declared in (b"1", b"0001000")] == [True, True]


def test_what_is_wrong_with_a_text_is_said_in_a_sentence() -> None:
    with pytest.raises(Problem) as refused:
        parse_json(b"{")

    assert str(refused.value.detail).startswith("The text is not JSON: ")


@pytest.mark.parametrize("declared", [b"", b"-1", b"+1", b"1e3", b" 1", b"0x10", b"1_0", "\u0661".encode(), b"1, 1"])
def test_a_declared_length_that_is_no_number_is_malformed(declared: bytes) -> None:
    with pytest.raises(Problem, match="malformed-body"):
        check_declared(declared, LIMIT)


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json; profile=anything",
        'application/json;charset="UTF-8"',
        "application/json; charset=utf8",
        'application/json; charset="UTF8"',
        " application/json ;",
    ],
)
async def test_json_is_json_however_it_is_spelt(content_type: str) -> None:
    answer = await post(b'{"a": 1.0}', [("content-type", content_type), ("content-encoding", "identity")])

    assert answer.json() == {"text": '{"a": 1.0}', "value": {"a": 1.0}}


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([], id="no type"),
        pytest.param([("content-type", "text/plain")], id="another type"),
        pytest.param([("content-type", "text/json")], id="not that one either"),
        pytest.param([("content-type", "application/jsonp")], id="a longer type"),
        pytest.param([("content-type", "application/x-www-form-urlencoded")], id="a form"),
        pytest.param([("content-type", "application/json; charset=utf-16")], id="another charset"),
        pytest.param([("content-type", "application/json; charset=latin-1")], id="latin-1"),
        pytest.param([("content-type", "application/json; charset=utf-8859")], id="almost that charset"),
        pytest.param([("content-type", 'application/json; charset="utf8')], id="half quoted"),
        pytest.param([("content-type", "application/json; charset=utf-8; charset=utf-7")], id="two charsets"),
        pytest.param([("content-type", "application/json, text/plain")], id="two types in one"),
        pytest.param([("content-type", "application/json"), ("content-type", "application/json")], id="two headers"),
        pytest.param([("content-type", "application/json"), ("content-encoding", "gzip")], id="compressed"),
        pytest.param([("content-type", "application/json"), ("content-encoding", "identity, gzip")], id="a list"),
        pytest.param(
            [("content-type", "application/json"), ("content-encoding", "identity"), ("content-encoding", "br")],
            id="compressed, in a second header",
        ),
    ],
)
async def test_another_type_or_encoding_is_a_415(headers: list[tuple[str, str]]) -> None:
    answer = await post(b"{}", headers)

    assert answer.status_code == 415
    assert answer.json()["type"] == "urn:countersign:unsupported-media-type"


async def test_another_type_is_refused_before_the_body_is_read() -> None:
    arriving = Arriving([b"{}"])

    with pytest.raises(Problem, match="unsupported-media-type"):
        await json_body(request_with(arriving), limit=LIMIT)

    assert arriving.received == 0


async def test_a_body_that_is_not_strict_json_is_a_400_that_does_not_quote_it() -> None:
    for data in (b"", b'{"secret": 1, "secret": 1}', b'"secret', b'"secret\xff"', b"[" * 500, rb'"secret\ud800"'):
        answer = await post(data)

        assert answer.status_code == 400
        assert answer.json()["type"] == "urn:countersign:malformed-body"
        assert "secret" not in answer.text


async def test_a_chunked_body_over_the_limit_is_a_413() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b" " * 100

    answer = await post(endless())

    assert answer.status_code == 413
    assert answer.json()["type"] == "urn:countersign:too-large"


async def test_a_large_body_is_parsed_off_the_event_loop_and_a_small_one_on_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[bool] = []

    def spy(data: bytes) -> object:
        seen.append(threading.current_thread() is threading.main_thread())
        return parse_json(data)

    monkeypatch.setattr("receiver.http.bodies.parse_json", spy)
    for size in (INLINE_BYTES, INLINE_BYTES + 1):
        body = b'"' + b"x" * (size - 2) + b'"'
        answer = await post(body, limit=10**6)
        assert answer.status_code == 200

    assert seen == [True, False]


async def test_a_large_body_that_is_malformed_is_a_400_too() -> None:
    assert (await post(b"[" * (INLINE_BYTES + 1), limit=10**6)).status_code == 400
