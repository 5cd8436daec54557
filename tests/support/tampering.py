"""An attacker who can write to the store but has no payload key, and workflows that wait for answers."""

from __future__ import annotations

import base64
import json
import re
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb
from pydantic import BaseModel
from support.approving import ADA, BOB, Desk, consult, desk
from support.configuration import API_KEY, fresh_key
from support.plant import PATIENCE, pause

from orchestrator import Address, Context, open_callback, workflow
from orchestrator.config.secret import Secret

KEYS: dict[str, Any] = {"SIGNING_KEYS": fresh_key(), "PAYLOAD_KEYS": fresh_key()}
AUTHORISED = {"Authorization": f"Bearer {API_KEY}"}
BOTH = [ADA, BOB]
LATER = 9_999_999_999_999


def base64_of(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class Mallory:
    """A database role that may do anything with the store's rows and functions, but has no key."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(re.sub("//postgres(:[^@]*)?@", "//mallory@", url), autocommit=True)

    def do(self, query: sql.SQL | sql.Composed, *values: Any) -> list[Any]:
        cursor = self._connection.execute(query, values)
        return cursor.fetchall() if cursor.description else []

    def take(self, promise_id: str, column: str) -> str:
        """Return the content of a row's column."""
        query = sql.SQL("SELECT {} FROM resonate.promises WHERE id = %s").format(sql.Identifier(column))
        ((value,),) = self.do(query, promise_id)
        assert value is not None
        return str(value)

    def write(self, promise_id: str, **columns: Any) -> None:
        """Change a row directly, without the engine."""
        assignments = [sql.SQL("{} = %s").format(sql.Identifier(name)) for name in columns]
        query = sql.SQL("UPDATE resonate.promises SET {} WHERE id = %s RETURNING id").format(
            sql.SQL(", ").join(assignments)
        )
        assert self.do(query, *columns.values(), promise_id)

    def insert(self, promise_id: str, *, like: str, **columns: Any) -> None:
        """Insert or replace this row with a copy of another promise's row, with these columns changed."""
        names = ["state", "param_data", "value_data", "tags", "timeout_at", "created_at", "settled_at"]
        query = sql.SQL("SELECT {} FROM resonate.promises WHERE id = %s").format(
            sql.SQL(", ").join(map(sql.Identifier, names))
        )
        (found,) = self.do(query, like)
        row = dict(zip(names, found, strict=True)) | columns
        origin, other = promise_id.partition(":")[0], like.partition(":")[0]
        tags = json.loads(json.dumps(row["tags"]).replace(f'"{other}', f'"{origin}'))
        self.do(sql.SQL("DELETE FROM resonate.promises WHERE id = %s"), promise_id)
        self.do(
            sql.SQL("INSERT INTO resonate.promises (id, {}) VALUES (%s, {})").format(
                sql.SQL(", ").join(map(sql.Identifier, names)), sql.SQL(", ").join(sql.Placeholder() * len(names))
            ),
            promise_id,
            *(row | {"tags": Jsonb(tags)}).values(),
        )

    def settle(self, promise_id: str, state: str, data: str | None) -> None:
        """Settle a promise with the engine's own procedure, so that its workflow resumes."""
        ((answer,),) = self.do(
            sql.SQL(
                "SELECT resonate.promise_settle(%s, %s, %s, (extract(epoch FROM clock_timestamp()) * 1000)::bigint)"
            ),
            promise_id,
            state,
            Jsonb({"headers": {}, "data": data}),
        )
        assert answer["promise"]["state"] == state, answer

    def wake(self, root_id: str) -> None:
        """Make the engine run a waiting workflow again."""
        query = sql.SQL("UPDATE resonate.tasks SET state = 'pending', timeout_at = 0 WHERE id = %s RETURNING id")
        assert self.do(query, root_id)

    def forget(self, origin: str) -> None:
        self.do(sql.SQL("DELETE FROM resonate.promises WHERE split_part(id, ':', 1) = %s"), origin)


def raw_key() -> Secret:
    """Return the payload key in the form that the cipher needs."""
    return Secret(base64.urlsafe_b64decode(KEYS["PAYLOAD_KEYS"] + "="))


async def raw(one: Desk, kind: str, **data: Any) -> Any:
    """Send the engine a request as somebody without a key can, and return the record in its reply."""
    request = {"kind": kind, "head": {"corrId": "1", "version": "2026-04-01"}, "data": data}
    answer = json.loads(await one.engine.resonate._network.send(json.dumps(request), {}))
    assert answer["head"]["status"] in {200, 201}, answer
    return answer["data"]["promise"]


class Nothing(BaseModel):
    """No input."""


@workflow()
async def relay(ctx: Context, _: Nothing) -> Any:
    """Return a caller's JSON from a step, as a workflow may do."""
    callback = await open_callback(ctx, "report")
    await ctx.run(hand_out_nothing, callback.address)
    outcome = await callback

    return await ctx.run(keep, outcome.value)


async def hand_out_nothing(_: Context, _address: Address) -> None:
    """Hand out nothing: the test knows the wait."""


async def keep(_: Context, value: Any) -> Any:
    return value


@workflow()
async def two(ctx: Context, _: Nothing) -> list[Any]:
    """Wait for two reports, and return each from a step."""
    callbacks = [await open_callback(ctx, "report") for _ in range(2)]

    return [await ctx.run(keep, (await callback).value) for callback in callbacks]


@workflow()
async def forgiving(ctx: Context, _: Nothing) -> str:
    """Catch everything that its wait raises."""
    callback = await open_callback(ctx, "report")

    try:
        outcome = await callback
    except Exception:  # noqa: BLE001 - the kind of code this is about
        return "never mind"

    return outcome.kind


WORKFLOWS = (consult, relay, two, forgiving)


def service(directory: Path, url: str, *, working: bool = True) -> AbstractAsyncContextManager[Desk]:
    return desk(directory, url, workflows=WORKFLOWS, working=working, **KEYS)


async def suspended(directory: Path, url: str, *workflow_ids: str, **consultation: Any) -> dict[str, list[str]]:
    """Let workflows ask people, then stop the worker; return everybody's links by workflow."""
    links = {}

    async with service(directory, url) as one:
        for number, workflow_id in enumerate(workflow_ids):
            await one.ask(workflow_id, **consultation)
            people = consultation.get("people", [ADA])
            links[workflow_id] = [await one.link(person, number=number) for person in people]
            await until_suspended(one, f"consult.{workflow_id}", url)

    return links


async def until_suspended(one: Desk, root_id: str, url: str) -> None:
    with psycopg.connect(url, autocommit=True) as admin:
        for _ in range(int(PATIENCE * 50)):
            if admin.execute("SELECT state FROM resonate.tasks WHERE id = %s", [root_id]).fetchone() == ("suspended",):
                return

            await pause(0.02)

    raise TimeoutError(root_id)


async def decided(directory: Path, url: str, decisions: dict[str, str]) -> None:
    """Let people decide while no worker is running."""
    async with service(directory, url, working=False) as one:
        for link, decision in decisions.items():
            assert (await one.post(link, decision)).status_code == 303


async def resumed(directory: Path, url: str, workflow_id: str = "1", name: str = "consult") -> dict[str, Any]:
    """Let the worker continue, and return how the workflow ended."""
    async with service(directory, url) as one:
        return await one.ended(workflow_id, name)


def assert_tampered(ended: dict[str, Any], promise_id: str) -> None:
    assert (ended["state"], ended.get("result")) == ("failed", None)
    assert f"the store was tampered with: promise {promise_id} " in ended["error"]["message"]
