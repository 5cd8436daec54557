"""Payloads bound to their place, on every engine."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from resonate.send import Sender
from resonate.types import PromiseSettleReq, Value
from support.approving import ADA, BOB, desk
from support.configuration import API_KEY, fresh_key, settings
from support.tampering import KEYS, LATER, assert_tampered, raw, raw_key

from orchestrator.engine import connect
from orchestrator.engine.encryption.cipher import PayloadCipher, PayloadKeyUnknown, PayloadRefused
from orchestrator.engine.encryption.places import LIFE_TAG
from orchestrator.engine.encryption.record_reader import PayloadMarker
from orchestrator.engine.encryption.sealing import Seal
from orchestrator.engine.marks import PromiseMarks
from orchestrator.errors import ConfigurationError, EngineUnavailable
from orchestrator.runs.cancel_record import CANCEL, cancel_ids, find_cancel


@pytest.mark.parametrize("state", ["resolved", "rejected", "rejected_canceled"])
async def test_a_settlement_by_somebody_without_a_key_is_detected_on_every_engine(
    tmp_path: Path, engine_url: str, state: str
) -> None:
    async with desk(tmp_path, engine_url, **KEYS) as one:
        await one.ask("1")
        await one.ask("2", people=[BOB])
        param = (await raw(one, "promise.get", id="consult.2:1"))["param"]["data"]

        await raw(one, "promise.settle", id="consult.1:1", state=state, value={"data": None})
        await raw(one, "promise.settle", id="consult.2:1", state=state, value={"data": param})

        assert_tampered(await one.ended("1"), "consult.1:1")
        assert_tampered(await one.ended("2"), "consult.2:1")


async def test_stored_payloads_are_bound_and_tagged_and_every_step_has_a_value(tmp_path: Path, engine_url: str) -> None:
    async with desk(tmp_path, engine_url, **KEYS) as one:
        link = await one.ask(deadline=60)
        await one.post(link)
        assert (await one.ended())["result"]["decision"] == "approve"

        for promise_id in ("consult.1", "consult.1:1", "consult.1:2"):
            record = await raw(one, "promise.get", id=promise_id)
            held = [record[slot]["data"] for slot in ("param", "value") if record[slot].get("data")]

            assert all(base64.b64decode(text).startswith(b"\x02") for text in held)
            assert record["value"]["data"]
            assert (LIFE_TAG in record["tags"]) == (":" in promise_id)


async def test_a_deadline_and_a_cancel_do_not_count_as_tampering(
    tmp_path: Path, engine_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with desk(tmp_path, engine_url, **KEYS) as one:
        await one.ask("1", deadline=1)
        await one.ask("2", people=[ADA, BOB], need="all")
        headers = {"Authorization": f"Bearer {API_KEY}"}
        assert (await one.client.delete("/workflows/consult/2", headers=headers)).status_code == 202

        assert (await one.ended("1"))["result"]["decision"] == "expired"
        assert (await one.ended("2"))["result"]["decision"] == "cancelled"

    assert not [each for each in caplog.records if each.name == "orchestrator.engine.encryption.sealing"]


async def test_a_mark_and_a_cancel_by_somebody_without_a_key_have_no_effect(tmp_path: Path) -> None:
    async with desk(tmp_path, **KEYS) as one:
        link = await one.ask()
        root = await one.engine.promises.get("consult.1")
        digest = b"1" * 16
        mark: dict[str, Any] = {"countersign": 1, "mark": digest.hex()}
        asks: dict[str, Any] = {"func": CANCEL, "args": [{"root": root.id}]}
        task = {"resonate:target": root.tags["resonate:target"]}

        for promise_id, held, tags in (
            (f"countersign~mark.{digest.hex()}", mark, {}),
            *((cancel_id, asks, task) for cancel_id in ("consult.1~cancel", *cancel_ids(root))),
        ):
            param = {"data": base64.b64encode(json.dumps(held).encode()).decode()}
            await raw(one, "promise.create", id=promise_id, timeoutAt=2**42, param=param, tags=tags)

        assert await find_cancel(one.engine.promises, root) is None
        assert not await PromiseMarks(one.engine.promises).has(digest)
        assert (await one.post(link)).status_code == 303
        assert (await one.ended())["result"]["decision"] == "approve"


async def test_a_payload_under_a_missing_key_decides_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/engine.db"
    newer = fresh_key()

    async with desk(tmp_path, url, **KEYS) as one:
        link = await one.ask()

    async with desk(tmp_path, url, **KEYS | {"PAYLOAD_KEYS": f"{KEYS['PAYLOAD_KEYS']},{newer}"}, working=False) as one:
        assert (await one.post(link)).status_code == 303

    async with desk(tmp_path, url, **KEYS) as one:
        assert (await one.client.get(link)).status_code == 503
        assert (await one.ended(wait=1))["state"] == "running"

        with pytest.raises(EngineUnavailable):
            await one.engine.promises.get("consult.1:1")

    async with desk(tmp_path, url, **KEYS | {"PAYLOAD_KEYS": f"{KEYS['PAYLOAD_KEYS']},{newer}"}) as one:
        assert (await one.ended())["result"]["decision"] == "approve"


async def test_a_start_that_is_refused_for_a_missing_key_releases_the_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/engine.db"

    async with desk(tmp_path, url, **KEYS) as one:
        await one.ask()

    with pytest.raises(ConfigurationError, match="which is under way"):
        await connect(settings(tmp_path, url, **KEYS | {"PAYLOAD_KEYS": fresh_key()}), work=True)

    async with desk(tmp_path, url, **KEYS) as one:
        assert await one.state() == "pending"


@pytest.mark.parametrize("encrypted", [False, True])
async def test_switching_encryption_while_a_workflow_is_under_way_refuses_the_start(
    tmp_path: Path, *, encrypted: bool
) -> None:
    url = f"sqlite:///{tmp_path}/engine.db"
    before, after = (KEYS, {}) if encrypted else ({}, KEYS)

    async with desk(tmp_path, url, **before) as one:
        await one.ask()

    with pytest.raises(ConfigurationError, match=r"consult\.1, which is under way: .* or encryption switched"):
        await connect(settings(tmp_path, url, **after), work=True)


@pytest.mark.parametrize("keys", [{}, KEYS])
async def test_what_has_no_payload_stops_no_start_under_whatever_keys(tmp_path: Path, keys: dict[str, Any]) -> None:
    url = f"sqlite:///{tmp_path}/engine.db"

    async with desk(tmp_path, url, **KEYS) as one:
        await one.engine.promises.create("a-note", timeout_at=LATER, param=None, tags={})

    async with desk(tmp_path, url, **keys) as one:
        assert (await one.engine.promises.get("a-note")).param.data is None


def test_a_payload_that_bypassed_the_seal_is_refused() -> None:
    marker = PayloadMarker()

    assert marker.decrypt(marker.encrypt(b"x")) == b"x"

    for data in (b"", b"x", PayloadMarker().encrypt(b"x"), PayloadCipher([raw_key()]).encrypt(b"x", b"")):
        with pytest.raises(PayloadRefused):
            marker.decrypt(data)


async def test_every_request_of_the_sdk_goes_through_the_seal(tmp_path: Path) -> None:
    engine = await connect(settings(tmp_path, **KEYS), work=True)
    sender = engine.resonate._sender
    others = (engine.resonate._core.sender, engine.resonate._core.fencing, engine.resonate.promises.sender)

    assert isinstance(sender._send_envelope, Seal)
    assert all(each is sender for each in (*others, engine.resonate.schedules.sender))
    asking = [name for name in vars(Sender) if not name.startswith("__") and "_send_envelope" in _names(name)]
    assert {"promise_get", "promise_settle", "task_acquire", "task_suspend", "task_fulfill", "_task_fence"} <= {*asking}
    assert "send" not in {use for name in vars(Sender) if name != "_send_envelope" for use in _names(name)}
    await engine.stop()


def _names(method: str) -> tuple[str, ...]:
    code = getattr(vars(Sender)[method], "__code__", None)
    return code.co_names if code is not None else ()


async def test_a_schedule_cannot_carry_a_payload(tmp_path: Path) -> None:
    engine = await connect(settings(tmp_path, **KEYS), work=True)

    with pytest.raises(TypeError, match="schedule"):
        await engine.resonate.schedules.create("s", "* * * * *", "p", 1000, Value(data=1), {})

    await engine.stop()


async def test_a_settlement_fetches_its_record_unless_that_was_read_just_now() -> None:
    asked: list[str] = []
    now = [100.0]
    record = {"id": "w.1:1", "state": "pending", "timeoutAt": 9, "tags": {LIFE_TAG: "one"}, "param": {}, "value": {}}

    async def send(kind: str, data: Any, *, allow_409: bool, routes_by: str | None = None) -> tuple[int, Any]:
        asked.append(kind)
        return 200, {"promise": {**record}}

    marker = PayloadMarker()
    seal = Seal(send, PayloadCipher([raw_key()]), marker, clock=lambda: now[0])
    settle = PromiseSettleReq(id="w.1:1", state="resolved", value=Value())
    await seal("promise.get", {"id": "w.1:1"}, allow_409=False)
    await seal("promise.settle", settle, allow_409=False)
    assert asked == ["promise.get", "promise.settle"]

    now[0] += 2
    await seal("promise.settle", settle, allow_409=False)
    assert asked == ["promise.get", "promise.settle", "promise.get", "promise.settle"]


@pytest.mark.parametrize(
    "answer",
    [None, "no", 7, {}, {"promise": None}, {"promise": {"id": 7}}, {"preload": 7}, {"promises": [None, {"id": "w"}]}],
)
async def test_garbage_from_an_engine_is_handed_on_as_it_is(answer: Any) -> None:
    async def send(*_: Any, **__: Any) -> tuple[int, Any]:
        return 200, answer

    seal = Seal(send, PayloadCipher([raw_key()]), PayloadMarker())

    assert await seal("promise.get", {"id": "w"}, allow_409=False) == (200, answer)


def test_the_two_refusals_are_not_mistaken_for_each_other() -> None:
    assert not issubclass(PayloadKeyUnknown, PayloadRefused)
