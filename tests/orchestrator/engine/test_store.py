"""What a shared engine's store contains, and what somebody who can write to it can achieve."""

from __future__ import annotations

import base64
import json
import pickle
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from support.configuration import fresh_key
from support.edge import Edge, edge
from support.engines import Database, resonate_server

MARKER = "what-nobody-else-may-read"
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{16,}")


class Store:
    """A shared engine's URL, and everything its database holds."""

    def __init__(self, url: str, content: Callable[[], bytes]) -> None:
        self.url = url
        self._content = content

    def readable(self) -> bytes:
        """Return the content, and everything in it that looks like base64 decoded, wherever it begins."""
        content = self._content()
        decoded = [
            base64.b64decode(found[start : start + (len(found) - start) // 4 * 4])
            for found in _BASE64.findall(content)
            for start in range(4)
        ]
        return content + b"\n".join(decoded)


@pytest.fixture(params=["postgres", "server"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "postgres":
        database: Database = request.getfixturevalue("database")
        url = database.fresh()
        yield Store(url, lambda: database.dump(url))
    else:
        with resonate_server(tmp_path) as server:
            yield Store(server.url, server.stored)


async def answered(one: Edge) -> str:
    """Settle a workflow's wait with the marker, and let another workflow raise it; return the first one's token."""
    token = await one.asked("1", name="a-question")
    await one.post(token, {"secret": MARKER})
    assert (await one.ended("1"))["result"]["value"] == {"secret": MARKER}
    await one.client.put("/workflows/ask/2", json={"breaks": MARKER}, headers=authorised())
    assert (await one.ended("2"))["state"] == "failed"
    return token


def authorised() -> dict[str, str]:
    from support.edge import AUTHORISED  # noqa: PLC0415 - the key is made when the module is

    return AUTHORISED


async def test_a_dump_of_the_store_holds_no_payload_and_no_token(tmp_path: Path, store: Store) -> None:
    async with edge(tmp_path, store.url) as one:
        token = await answered(one)

    content = store.readable()
    assert b"ask.1" in content
    assert MARKER.encode() not in content
    assert token.encode() not in content
    assert token.rpartition(".")[2].encode() not in content


async def test_without_payload_keys_a_dump_holds_payloads_and_still_no_token(tmp_path: Path, store: Store) -> None:
    async with edge(tmp_path, store.url, PAYLOAD_KEYS="off") as one:
        token = await answered(one)

    content = store.readable()
    assert MARKER.encode() in content
    assert token.rpartition(".")[2].encode() not in content


class Creates:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self._path,))


@asynccontextmanager
async def forged(directory: Path, url: str, keys: str) -> AsyncIterator[tuple[Edge, Path]]:
    """Settle a workflow's wait in the database itself, as rejected with readable JSON that runs code when unpickled."""
    trace = directory / "it-ran"

    async with edge(directory, url, PAYLOAD_KEYS=keys) as one:
        await one.asked("1")
        pickled = base64.b64encode(pickle.dumps(Creates(trace))).decode()
        value = {"__type": "error", "message": "forged", "__py_pickle": pickled}
        request = {
            "kind": "promise.settle",
            "head": {"corrId": "1", "version": "2025-01-15"},
            "data": {
                "id": "ask.1:1",
                "state": "rejected",
                "value": {"headers": {}, "data": base64.b64encode(json.dumps(value).encode()).decode()},
            },
        }

        with psycopg.connect(url, autocommit=True) as database:
            (answer,) = database.execute(
                "SELECT resonate.resonate_rpc(%s::text::jsonb)", [json.dumps(request)]
            ).fetchone()  # type: ignore[misc]
            assert answer["head"]["status"] == 200, answer
            row = database.execute("SELECT state FROM resonate.promises WHERE id = 'ask.1:1'").fetchone()
            assert row == ("rejected",)

        yield one, trace


async def test_a_forged_row_runs_nothing_under_payload_keys(tmp_path: Path, database: Database) -> None:
    async with forged(tmp_path, database.fresh(), fresh_key()) as (one, trace):
        ended = await one.ended("1")

        assert ended["state"] == "failed"
        assert "the store was tampered with: promise ask.1:1" in ended["error"]["message"]
        assert (await one.post(await one.asked("2"), "still served")).status_code == 200
        assert (await one.ended("2"))["state"] == "succeeded"

    assert not trace.exists()


async def test_a_forged_row_runs_nothing_without_payload_keys_either(tmp_path: Path, database: Database) -> None:
    async with forged(tmp_path, database.fresh(), "off") as (one, trace):
        assert (await one.ended("1"))["result"] == {"kind": "cancelled", "value": None, "by": "engine"}

    assert not trace.exists()
