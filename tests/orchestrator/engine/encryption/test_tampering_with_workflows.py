"""Somebody who can write to the store but has no payload key tampers with steps and roots: the workflow fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from psycopg import sql
from psycopg.types.json import Jsonb
from support.approving import ADA, consult
from support.tampering import (
    AUTHORISED,
    BOTH,
    LATER,
    Mallory,
    assert_tampered,
    base64_of,
    decided,
    forgiving,
    resumed,
    service,
    suspended,
    until_suspended,
)


@pytest.mark.parametrize("timer", [False, True], ids=["as done without a result", "as a timer that is over"])
async def test_a_forged_step_is_detected(tmp_path: Path, url: str, mallory: Mallory, *, timer: bool) -> None:
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
