"""Somebody who can write to the store but has no payload key tampers with answers: the workflow fails and says so."""

from __future__ import annotations

import base64
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql
from support.tampering import (
    BOTH,
    Mallory,
    assert_tampered,
    base64_of,
    decided,
    relay,
    resumed,
    service,
    suspended,
    two,
    until_suspended,
)

from orchestrator.callbacks.outcomes import Outcome
from orchestrator.callbacks.settlement import resolve


class Creates:
    """Creates a file when it is unpickled."""

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


async def test_two_swapped_answers_to_one_workflow_are_detected(tmp_path: Path, url: str, mallory: Mallory) -> None:
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


@pytest.mark.parametrize("state", ["resolved", "rejected"])
async def test_the_param_of_a_promise_is_not_accepted_as_its_value(
    tmp_path: Path, url: str, mallory: Mallory, state: str
) -> None:
    await suspended(tmp_path, url, "1")
    mallory.settle("consult.1:1", state, mallory.take("consult.1:1", "param_data"))

    assert_tampered(await resumed(tmp_path, url), "consult.1:1")


async def test_an_answer_under_another_state_is_refused(tmp_path: Path, url: str, mallory: Mallory) -> None:
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
async def test_a_settlement_without_a_key_is_detected(
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
async def test_a_faked_deadline_is_detected(tmp_path: Path, url: str, mallory: Mallory, state: str) -> None:
    await suspended(tmp_path, url, "1")
    mallory.write("consult.1:1", state=state, settled_at=1)
    mallory.wake("consult.1")

    assert_tampered(await resumed(tmp_path, url), "consult.1:1")


async def test_a_real_deadline_is_not_reported_as_tampering(tmp_path: Path, url: str) -> None:
    async with service(tmp_path, url) as one:
        await one.ask(deadline=1)

        assert (await one.ended())["result"]["decision"] == "expired"


async def test_the_promise_is_named_in_the_log_once(
    tmp_path: Path, url: str, mallory: Mallory, caplog: pytest.LogCaptureFixture
) -> None:
    await suspended(tmp_path, url, "1")
    mallory.settle("consult.1:1", "resolved", None)
    await resumed(tmp_path, url)
    logged = [each for each in caplog.records if each.name == "orchestrator.engine.encryption.sealing"]

    assert {each.levelname for each in logged} == {"ERROR"}
    assert [each.getMessage() for each in logged] == [
        "promise consult.1:1 does not hold what was written there: the store was tampered with"
    ]
