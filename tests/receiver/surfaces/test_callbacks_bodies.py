"""The bodies of machine callbacks: strict JSON with the right media type, within the limit, treated only as data."""

from __future__ import annotations

import base64
import pickle
from typing import TYPE_CHECKING, Any

import pytest
from support.edge import JSON, Edge, edge, problem, untouched

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Edge]:
    async with edge(tmp_path) as one:
        yield one


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" ",
        b"{",
        b"nope",
        b"1 2",
        b"\xff",
        b"\xef\xbb\xbf1",
        '{"a": 1, "a": 1}',
        "NaN",
        "[Infinity]",
        "-1e999",
        '"\\ud800"',
        '{"\\udfff": 1}',
        "[" * 10_000 + "]" * 10_000,
        "1" * 10_000,
    ],
)
async def test_what_is_not_strict_json_is_refused(here: Edge, content: str | bytes) -> None:
    token = await here.asked()

    problem(await here.client.post(f"/callbacks/{token}", content=content, headers=JSON), 400, "malformed-body")
    assert await untouched(here)


@pytest.mark.parametrize(
    "body", [None, [], "x", {}, {"message": 1}, {"message": None}, {"details": 1}, {"message": "x", "more": 1}]
)
async def test_a_failure_of_another_shape_is_refused(here: Edge, body: object) -> None:
    token = await here.asked()

    problem(await here.post(token, body, path="/callbacks/failure"), 400, "malformed-body")
    assert await untouched(here)


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json; charset=utf-16"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
)
async def test_another_media_type_is_refused(here: Edge, headers: dict[str, str]) -> None:
    token = await here.asked()

    answer = await here.client.post(f"/callbacks/{token}", content="1", headers=headers)
    problem(answer, 415, "unsupported-media-type")
    assert await untouched(here)


async def test_a_body_over_the_limit_is_refused_and_one_at_the_limit_is_not(here: Edge) -> None:
    token = await here.asked()

    problem(await here.post(token, "x" * 65_535), 413, "too-large")
    assert await untouched(here)
    assert (await here.post(token, "x" * 65_534)).status_code == 200


async def test_the_limit_holds_for_a_body_that_nobody_reads(here: Edge) -> None:
    token = await here.asked()
    answer = await here.client.request("GET", f"/callbacks/{token}", content="x" * 70_000)

    problem(answer, 413, "too-large")


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.exit, ("a payload was unpickled",))


@pytest.mark.parametrize("path", ["/callbacks", "/callbacks/failure"])
async def test_a_pickle_in_a_body_is_plain_data_to_the_workflow(here: Edge, path: str) -> None:
    payload = base64.b64encode(pickle.dumps(Bomb())).decode()
    bomb = {"__type": "error", "message": "x", "__py_pickle": payload}
    body = bomb if path == "/callbacks" else {"message": "x", "details": bomb}
    token = await here.asked()

    assert (await here.post(token, body, path=path)).status_code == 200
    assert (await here.ended())["result"]["value"] == body
