"""What somebody achieves who can write to the store and holds no payload key: nothing but a failure that says so."""

from __future__ import annotations

import base64
import json
import pickle
import re
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb
from pydantic import BaseModel
from support.approving import ADA, BOB, Desk, consult, desk
from support.configuration import API_KEY, fresh_key
from support.engines import Database
from support.plant import PATIENCE, pause

from orchestrator import Address, Context, open_callback, workflow
from orchestrator.callbacks.outcomes import Outcome
from orchestrator.callbacks.settlement import resolve

KEYS: dict[str, Any] = {"SIGNING_KEYS": fresh_key(), "PAYLOAD_KEYS": fresh_key()}
AUTHORISED = {"Authorization": f"Bearer {API_KEY}"}
BOTH = [ADA, BOB]
LATER = 9_999_999_999_999


def base64_of(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class Mallory:
    """A role of the database that may do anything with the store's rows and functions, and holds no key."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(re.sub("//postgres(:[^@]*)?@", "//mallory@", url), autocommit=True)

    def do(self, query: sql.SQL | sql.Composed, *values: Any) -> list[Any]:
        cursor = self._connection.execute(query, values)
        return cursor.fetchall() if cursor.description else []

    def take(self, promise_id: str, column: str) -> str:
        """Return what a row holds."""
        query = sql.SQL("SELECT {} FROM resonate.promises WHERE id = %s").format(sql.Identifier(column))
        ((value,),) = self.do(query, promise_id)
        assert value is not None
        return str(value)

    def write(self, promise_id: str, **columns: Any) -> None:
        """Change a row as it pleases, behind the engine's back."""
        assignments = [sql.SQL("{} = %s").format(sql.Identifier(name)) for name in columns]
        query = sql.SQL("UPDATE resonate.promises SET {} WHERE id = %s RETURNING id").format(
            sql.SQL(", ").join(assignments)
        )
        assert self.do(query, *columns.values(), promise_id)

    def insert(self, promise_id: str, *, like: str, **columns: Any) -> None:
        """Put a row in the place of this one, or where there is none: a copy of another's, but for the columns."""
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
        """Settle a promise by the engine's own procedure, so that its workflow is woken."""
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
        """Have a workflow that waits be run again."""
        query = sql.SQL("UPDATE resonate.tasks SET state = 'pending', timeout_at = 0 WHERE id = %s RETURNING id")
        assert self.do(query, root_id)

    def forget(self, origin: str) -> None:
        self.do(sql.SQL("DELETE FROM resonate.promises WHERE split_part(id, ':', 1) = %s"), origin)


@pytest.fixture
def url(database: Database) -> str:
    return database.fresh()


@pytest.fixture
def mallory(url: str) -> Iterator[Mallory]:
    with psycopg.connect(url, autocommit=True) as admin:
        if not admin.execute("SELECT 1 FROM pg_roles WHERE rolname = 'mallory'").fetchone():
            admin.execute("CREATE ROLE mallory LOGIN")

        admin.execute("GRANT USAGE ON SCHEMA resonate TO mallory")
        admin.execute("GRANT ALL ON ALL TABLES IN SCHEMA resonate TO mallory")
        admin.execute("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA resonate TO mallory")

    one = Mallory(url)
    yield one
    one._connection.close()


class Nothing(BaseModel):
    """No input."""


@workflow()
async def relay(ctx: Context, _: Nothing) -> Any:
    """Have a caller's JSON returned by a step, as a workflow may well do."""
    callback = await open_callback(ctx, "report")
    await ctx.run(told, callback.address)
    outcome = await callback

    return await ctx.run(keep, outcome.value)


async def told(_: Context, _address: Address) -> None:
    """Hand nothing out: the test knows the wait."""


async def keep(_: Context, value: Any) -> Any:
    return value


@workflow()
async def two(ctx: Context, _: Nothing) -> list[Any]:
    """Wait for two reports, and keep each."""
    callbacks = [await open_callback(ctx, "report") for _ in range(2)]

    return [await ctx.run(keep, (await callback).value) for callback in callbacks]


@workflow()
async def forgiving(ctx: Context, _: Nothing) -> str:
    """Catch whatever its wait raises."""
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
    """Have workflows ask, and stop the worker; returns everybody's links by workflow."""
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
    """Have people decide while no worker is there to hear it."""
    async with service(directory, url, working=False) as one:
        for link, decision in decisions.items():
            assert (await one.post(link, decision)).status_code == 303


async def resumed(directory: Path, url: str, workflow_id: str = "1", name: str = "consult") -> dict[str, Any]:
    """Let the worker go on, and return how the workflow ended."""
    async with service(directory, url) as one:
        return await one.ended(workflow_id, name)


def assert_tampered(ended: dict[str, Any], promise_id: str) -> None:
    assert (ended["state"], ended.get("result")) == ("failed", None)
    assert f"the store was tampered with: promise {promise_id} " in ended["error"]["message"]


class Creates:
    """Unpickled, it creates a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self._path,))


@pytest.mark.parametrize("state", ["rejected", "rejected_canceled", "resolved"])
async def test_a_callers_json_that_a_step_returned_is_not_unpickled_elsewhere(
    tmp_path: Path, url: str, mallory: Mallory, state: str
) -> None:
    trace = tmp_path / "it-ran"
    bomb = {"__type": "error", "message": "x", "__py_pickle": base64.b64encode(pickle.dumps(Creates(trace))).decode()}

    async with service(tmp_path, url) as one:
        for workflow_id in ("1", "2"):
            await one.start(relay, workflow_id)
            await until_suspended(one, f"relay.{workflow_id}", url)

        outcome = Outcome(kind="succeeded", callback="report", by="callback", body=json.dumps(bomb))
        await resolve(one.engine.promises, "relay.1:1", ikey="k", outcome=outcome)
        assert (await one.ended("1", "relay"))["result"] == bomb

        mallory.settle("relay.2:1", state, mallory.take("relay.1:3", "value_data"))

        assert_tampered(await one.ended("2", "relay"), "relay.2:1")

    assert not trace.exists()


async def test_two_decisions_that_are_swapped_decide_nothing(tmp_path: Path, url: str, mallory: Mallory) -> None:
    links = await suspended(tmp_path, url, "1", "2")
    await decided(tmp_path, url, {links["1"][0]: "reject", links["2"][0]: "approve"})
    one, other = (mallory.take(f"consult.{each}:1", "value_data") for each in "12")
    mallory.write("consult.1:1", value_data=other)
    mallory.write("consult.2:1", value_data=one)

    assert_tampered(await resumed(tmp_path, url, "1"), "consult.1:1")
    assert_tampered(await resumed(tmp_path, url, "2"), "consult.2:1")


async def test_two_answers_to_one_workflow_that_are_swapped_are_told(
    tmp_path: Path, url: str, mallory: Mallory
) -> None:
    async with service(tmp_path, url) as one:
        await one.start(two, "1")
        await until_suspended(one, "two.1", url)

    async with service(tmp_path, url, working=False) as one:
        for place in (1, 2):
            outcome = Outcome(kind="succeeded", callback="report", by="callback", body=str(place))
            await resolve(one.engine.promises, f"two.1:{place}", ikey="k", outcome=outcome)

    first, second = (mallory.take(f"two.1:{place}", "value_data") for place in (1, 2))
    mallory.write("two.1:1", value_data=second)
    mallory.write("two.1:2", value_data=first)

    assert_tampered(await resumed(tmp_path, url, name="two"), "two.1:1")


async def test_everybodys_agreement_cannot_be_copied(tmp_path: Path, url: str, mallory: Mallory) -> None:
    links = await suspended(tmp_path, url, "1", "2", people=BOTH, need="all")
    await decided(tmp_path, url, dict.fromkeys(links["2"], "approve"))
    agreed = await resumed(tmp_path, url, "2")
    assert agreed["result"]["decision"] == "approve"
    await decided(tmp_path, url, dict.fromkeys(links["1"], "reject"))

    for place in (1, 2):
        mallory.write(f"consult.1:{place}", value_data=mallory.take(f"consult.2:{place}", "value_data"))

    ended = await resumed(tmp_path, url, "1")
    assert ended["state"] == "failed"
    assert "tampered" in ended["error"]["message"]


async def test_what_a_step_has_counted_cannot_be_copied_and_decides_nothing(
    tmp_path: Path, url: str, mallory: Mallory
) -> None:
    links = await suspended(tmp_path, url, "1", "2", people=BOTH, need="all")
    await decided(tmp_path, url, dict.fromkeys(links["2"], "approve"))
    await resumed(tmp_path, url, "2")
    await decided(tmp_path, url, dict.fromkeys(links["1"], "reject"))
    steps = mallory.do(
        sql.SQL("SELECT id FROM resonate.promises WHERE tags->>'countersign:step' = 'tally' AND id LIKE 'consult.2:%%'")
    )
    assert steps

    for (step,) in steps:
        mallory.insert(step.replace("consult.2", "consult.1"), like=step)

    ended = await resumed(tmp_path, url, "1")
    assert ended["state"] == "failed"
    assert "tampered" in ended["error"]["message"]


@pytest.mark.parametrize("state", ["resolved", "rejected"])
async def test_what_a_promise_was_opened_with_is_no_answer_to_it(
    tmp_path: Path, url: str, mallory: Mallory, state: str
) -> None:
    await suspended(tmp_path, url, "1")
    mallory.settle("consult.1:1", state, mallory.take("consult.1:1", "param_data"))

    assert_tampered(await resumed(tmp_path, url), "consult.1:1")


async def test_an_answer_under_another_state_is_none(tmp_path: Path, url: str, mallory: Mallory) -> None:
    links = await suspended(tmp_path, url, "1")
    await decided(tmp_path, url, {links["1"][0]: "approve"})
    mallory.write("consult.1:1", state="rejected")

    assert_tampered(await resumed(tmp_path, url), "consult.1:1")


@pytest.mark.parametrize("whole", ["", "whole"], ids=["the value", "the whole row"])
async def test_a_decision_of_an_earlier_life_of_the_same_id_decides_nothing(
    tmp_path: Path, url: str, mallory: Mallory, whole: str
) -> None:
    links = await suspended(tmp_path, url, "1")
    await decided(tmp_path, url, {links["1"][0]: "approve"})
    assert (await resumed(tmp_path, url))["result"]["decision"] == "approve"
    mallory.insert("kept", like="consult.1:1", tags={})
    tags = mallory.do(sql.SQL("SELECT tags FROM resonate.promises WHERE id = 'consult.1:1'"))[0][0]
    mallory.forget("consult.1")

    await suspended(tmp_path, url, "1")

    if whole:
        mallory.insert("consult.1:1", like="kept", tags=tags)
        mallory.wake("consult.1")
    else:
        mallory.settle("consult.1:1", "resolved", mallory.take("kept", "value_data"))

    assert_tampered(await resumed(tmp_path, url), "consult.1:1")


@pytest.mark.parametrize("state", ["resolved", "rejected", "rejected_canceled"])
@pytest.mark.parametrize(
    "data",
    [
        None,
        "",
        "not base64",
        base64_of("garbage"),
        base64_of("null"),
        base64_of(json.dumps({"countersign": 1, "promise": "consult.1:1", "outcome": "approve"})),
    ],
)
async def test_a_settlement_without_a_key_is_told(
    tmp_path: Path, url: str, mallory: Mallory, state: str, data: str | None
) -> None:
    async with service(tmp_path, url) as one:
        link = await one.ask()
        await until_suspended(one, "consult.1", url)
        mallory.settle("consult.1:1", state, data)

        assert_tampered(await one.ended(), "consult.1:1")
        assert (await one.client.get(link)).status_code == 410
        assert (await one.post(link)).status_code == 410
        steps = (await one.ended(steps=True))["steps"]
        assert steps[0]["id"] == "consult.1:1"


@pytest.mark.parametrize("state", ["resolved", "rejected_timedout"])
async def test_a_deadline_that_is_not_reached_is_told(tmp_path: Path, url: str, mallory: Mallory, state: str) -> None:
    await suspended(tmp_path, url, "1")
    mallory.write("consult.1:1", state=state, settled_at=1)
    mallory.wake("consult.1")

    assert_tampered(await resumed(tmp_path, url), "consult.1:1")


async def test_a_deadline_that_is_reached_is_none_of_it(tmp_path: Path, url: str) -> None:
    async with service(tmp_path, url) as one:
        await one.ask(deadline=1)

        assert (await one.ended())["result"]["decision"] == "expired"


@pytest.mark.parametrize("timer", [False, True], ids=["as done without a result", "as a timer that is over"])
async def test_a_step_cannot_be_passed_off(tmp_path: Path, url: str, mallory: Mallory, *, timer: bool) -> None:
    await suspended(tmp_path, url, "1")
    tags = mallory.do(sql.SQL("SELECT tags FROM resonate.promises WHERE id = 'consult.1:2'"))[0][0]
    tags |= {"resonate:timer": "true"} if timer else {}
    mallory.write("consult.1:2", value_data=None, settled_at=LATER, tags=Jsonb(tags))
    mallory.wake("consult.1")

    assert_tampered(await resumed(tmp_path, url), "consult.1:2")


async def test_a_step_cannot_be_done_before_its_workflow_asks_for_it(
    tmp_path: Path, url: str, mallory: Mallory
) -> None:
    await suspended(tmp_path, url, "1")

    async with service(tmp_path, url, working=False) as one:
        await one.start(consult, "2", people=[ADA])

    mallory.insert("consult.2:2", like="consult.1:2")

    async with service(tmp_path, url) as one:
        assert_tampered(await one.ended("2"), "consult.2:2")
        assert not one.letters.to(ADA)


@pytest.mark.parametrize(
    "forged",
    [
        {"tags": {"resonate:origin": "consult.2"}},
        {"timeout_at": LATER},
        {"param_data": None},
        {"param_data": base64_of('{"func":"consult","args":[{"countersign":1,"root":"consult.1","request":"{}"}]}')},
    ],
    ids=["its origin", "its deadline", "no input", "a readable input"],
)
async def test_a_workflow_whose_root_was_changed_is_not_run(
    tmp_path: Path, url: str, mallory: Mallory, forged: dict[str, Any]
) -> None:
    async with service(tmp_path, url, working=False) as one:
        await one.start(consult, "1", people=[ADA])

    tags = mallory.do(sql.SQL("SELECT tags FROM resonate.promises WHERE id = 'consult.1'"))[0][0]
    mallory.write("consult.1", **forged | ({"tags": Jsonb(tags | forged["tags"])} if "tags" in forged else {}))

    async with service(tmp_path, url) as one:
        assert_tampered(await one.ended(), "consult.1")
        assert not one.letters.sent
        again = await one.client.put("/workflows/consult/1", json={"people": [ADA]}, headers=AUTHORISED)
        assert again.status_code == 200
        assert_tampered(again.json(), "consult.1")
        assert (await one.client.delete("/workflows/consult/1", headers=AUTHORISED)).status_code == 202


async def test_a_workflow_cannot_be_started_by_a_copy_of_anothers_root(
    tmp_path: Path, url: str, mallory: Mallory
) -> None:
    await suspended(tmp_path, url, "1")
    mallory.insert("consult.2", like="consult.1")
    mallory.do(
        sql.SQL("INSERT INTO resonate.tasks (id, state, version, timeout_at) VALUES ('consult.2','pending',0,0)")
    )

    async with service(tmp_path, url) as one:
        assert_tampered(await one.ended("2"), "consult.2")
        assert not one.letters.sent


@pytest.mark.parametrize("state", ["resolved", "rejected"])
async def test_a_root_that_was_settled_in_the_store_says_so(
    tmp_path: Path, url: str, mallory: Mallory, state: str
) -> None:
    links = await suspended(tmp_path, url, "1", "2")
    await decided(tmp_path, url, {links["2"][0]: "approve"})
    await resumed(tmp_path, url, "2")
    copied = mallory.take("consult.2", "value_data")

    async with service(tmp_path, url) as one:
        for workflow_id, data in (("1", copied), ("3", None)):
            if workflow_id == "3":
                await one.ask("3")
                await until_suspended(one, "consult.3", url)

            mallory.settle(f"consult.{workflow_id}", state, data)
            assert_tampered(await one.ended(workflow_id), f"consult.{workflow_id}")


async def test_a_finished_workflow_cannot_be_run_again(tmp_path: Path, url: str, mallory: Mallory) -> None:
    links = await suspended(tmp_path, url, "1")
    await decided(tmp_path, url, {links["1"][0]: "approve"})
    assert (await resumed(tmp_path, url))["state"] == "succeeded"
    mallory.write("consult.1", state="pending", value_data=None, settled_at=None)
    mallory.write("consult.1:2", value_data=mallory.take("consult.1:1", "value_data"))
    mallory.wake("consult.1")

    async with service(tmp_path, url) as one:
        assert_tampered(await one.ended(), "consult.1:2")
        assert not one.letters.sent


async def test_a_workflow_that_catches_everything_does_not_hide_it(tmp_path: Path, url: str, mallory: Mallory) -> None:
    async with service(tmp_path, url) as one:
        await one.start(forgiving, "1")
        await until_suspended(one, "forgiving.1", url)
        mallory.settle("forgiving.1:1", "resolved", None)

        assert_tampered(await one.ended("1", "forgiving"), "forgiving.1:1")


async def test_the_promise_is_named_in_the_log_once(
    tmp_path: Path, url: str, mallory: Mallory, caplog: pytest.LogCaptureFixture
) -> None:
    await suspended(tmp_path, url, "1")
    mallory.settle("consult.1:1", "resolved", None)
    await resumed(tmp_path, url)
    told = [each for each in caplog.records if each.name == "orchestrator.engine.encryption.sealing"]

    assert {each.levelname for each in told} == {"ERROR"}
    assert [each.getMessage() for each in told] == [
        "promise consult.1:1 does not hold what was written there: the store was tampered with"
    ]
