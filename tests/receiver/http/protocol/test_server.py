"""The HTTP server under the application: late headers, endless headers, and malformed requests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
from functools import partial
from typing import TYPE_CHECKING

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from support.plant import pause

from orchestrator.testing.processes import free_port
from receiver.http.protocol.connection import Protocol
from receiver.http.protocol.limits import Limits
from receiver.http.protocol.server import Server, allow_many_connections

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request


async def hello(_: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


@contextlib.asynccontextmanager
async def served(limits: Limits) -> AsyncIterator[int]:
    one = Server(Starlette(routes=[Route("/", hello)]), stopping=lambda: None)
    one.config.http = partial(Protocol, limits=limits)  # type: ignore[assignment]
    one.config.host, one.config.port = "127.0.0.1", free_port()
    serving = asyncio.create_task(one.serve())

    while not one.started:
        await pause(0.01)

    yield one.config.port
    one.should_exit = True
    await serving


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """A server on loopback whose limits are longer than these tests take."""
    async with served(Limits(head_seconds=600)) as number:
        yield number


@pytest.fixture
async def hurried() -> AsyncIterator[int]:
    """A server with short limits, which are still long enough for a timely request on a busy machine."""
    async with served(Limits(head_seconds=1)) as number:
        yield number


async def said(port: int, *pieces: bytes, apart: float = 0) -> str:
    """Return everything that the server sends in response to these bytes, until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def send() -> None:
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(apart)

    sending = asyncio.create_task(send())
    answer = (await reader.read()).decode("latin-1")
    sending.cancel()
    writer.close()
    return answer


def refused(answer: str, status: int, name: str) -> None:
    head, _, body = answer.partition("\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ")
    assert "cache-control: no-store" in head
    assert "connection: close" in head
    assert json.loads(body)["type"] == f"urn:countersign:{name}"
    assert f"content-length: {len(body)}" in head


async def test_a_request_in_time_is_served(port: int) -> None:
    answer = await said(port, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    assert answer.startswith("HTTP/1.1 200 ")
    assert answer.endswith("hello")


@pytest.mark.parametrize("begun", [b"", b"GE", b"GET / HTTP/1.1\r\nHost: x\r\n"])
async def test_headers_that_do_not_arrive_end_the_connection(hurried: int, begun: bytes) -> None:
    refused(await said(hurried, begun), 408, "request-timeout")


async def test_headers_that_drip_end_the_connection(hurried: int) -> None:
    dripping = [b"GET / HTTP/1.1\r\n", *(f"X-{n}: a\r\n".encode() for n in range(20))]

    refused(await said(hurried, *dripping, apart=0.03), 408, "request-timeout")


async def test_a_second_request_on_a_connection_has_its_own_time(hurried: int) -> None:
    answer = await said(hurried, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HTTP/1.1\r\n", apart=0.2)

    assert answer.startswith("HTTP/1.1 200 ")
    refused(answer[answer.index("hello") + 5 :], 408, "request-timeout")


@pytest.mark.parametrize(
    "nonsense",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"\x16\x03\x01\x02\x00",
    ],
)
async def test_what_is_no_http_is_refused_as_a_problem(port: int, nonsense: bytes) -> None:
    refused(await said(port, nonsense), 400, "malformed-body")


async def test_headers_without_end_are_not_kept(port: int) -> None:
    flood = b"".join(f"X-{n}: {'a' * 1000}\r\n".encode() for n in range(100))

    refused(await said(port, b"GET / HTTP/1.1\r\n" + flood), 431, "headers-too-large")


def test_the_limit_of_open_files_is_raised_as_far_as_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: wanted.append(limits))

    for limits, expected in [((1024, 4096), (4096, 4096)), ((1024, -1), (65_536, -1))]:
        monkeypatch.setattr(resource, "getrlimit", lambda _, limits=limits: limits)
        allow_many_connections()
        assert wanted.pop() == expected

    monkeypatch.setattr(resource, "getrlimit", lambda _: (100_000, 200_000))
    allow_many_connections()
    assert wanted == []
