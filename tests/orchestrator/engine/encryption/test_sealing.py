"""Payloads bound to their place, on every engine; and what was written before they were."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from resonate.codec import Codec
from resonate.send import Sender
from resonate.types import PromiseSettleReq, Value
from support.approving import ADA, BOB, Desk, desk
from support.configuration import API_KEY, fresh_key, settings
from support.plant import pause

from orchestrator.callbacks.claims import Claims
from orchestrator.callbacks.delivery_binding import FOR_GOOD, bind
from orchestrator.config.secret import Secret
from orchestrator.engine import connect
from orchestrator.engine import connect as connecting
from orchestrator.engine.encryption.cipher import PayloadCipher, PayloadKeyUnknown, PayloadRefused, _key_id
from orchestrator.engine.encryption.places import LIFE_TAG
from orchestrator.engine.encryption.record_reader import Inside
from orchestrator.engine.encryption.sealing import Seal
from orchestrator.engine.failures import is_tampered
from orchestrator.engine.marks import PromiseMarks
from orchestrator.errors import ConfigurationError, EngineUnavailable
from orchestrator.runs.cancel_record import CANCEL, cancel_ids, find_cancel

KEYS: dict[str, Any] = {"SIGNING_KEYS": fresh_key(), "PAYLOAD_KEYS": fresh_key()}


def raw_key() -> Secret:
    return Secret(base64.urlsafe_b64decode(KEYS["PAYLOAD_KEYS"] + "="))


class Unbound:
    """The encryptor of the version before: the same cipher, with nothing of the place."""

    def __init__(self) -> None:
        self._header = b"\x01" + _key_id(raw_key())
        self._cipher = AESGCM(raw_key().reveal())
        self._count = 0

    def encrypt(self, data: bytes) -> bytes:
        self._count += 1
        nonce = self._count.to_bytes(12)

        return self._header + nonce + self._cipher.encrypt(nonce, data, self._header)

    def decrypt(self, data: bytes) -> bytes:
        return self._cipher.decrypt(data[5:17], data[17:], data[:5])


@pytest.fixture
def before(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Processes write as the version before did, until this is undone."""
    monkeypatch.setattr(connecting, "Inside", Unbound)
    monkeypatch.setattr(connecting, "seal", lambda *_: None)
    return monkeypatch


async def raw(one: Desk, kind: str, **data: Any) -> Any:
    """Ask the engine as somebody without a key does, and return the record in its answer."""
    request = {"kind": kind, "head": {"corrId": "1", "version": "2026-04-01"}, "data": data}
    answer = json.loads(await one.engine.resonate._network.send(json.dumps(request), {}))
    assert answer["head"]["status"] in {200, 201}, answer
    return answer["data"]["promise"]


def assert_tampered(ended: dict[str, Any], promise_id: str) -> None:
    assert ended["state"] == "failed", ended
    assert f"the store was tampered with: promise {promise_id} " in ended["error"]["message"]


@pytest.mark.parametrize("state", ["resolved", "rejected", "rejected_canceled"])
async def test_a_settlement_by_somebody_without_a_key_is_told_on_every_engine(
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


async def test_what_rests_in_an_engine_is_bound_and_marked_and_holds_a_value_for_each_step(
    tmp_path: Path, engine_url: str
) -> None:
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


async def test_a_deadline_and_a_cancel_are_no_tampering(
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


async def test_a_mark_and_a_cancel_by_somebody_without_a_key_are_none(tmp_path: Path) -> None:
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


# A key that is missing is no tampering


async def test_a_payload_under_a_key_that_is_not_there_decides_nothing(tmp_path: Path) -> None:
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


async def test_a_start_that_is_refused_for_a_key_that_is_not_there_lets_go_of_the_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/engine.db"

    async with desk(tmp_path, url, **KEYS) as one:
        await one.ask()

    with pytest.raises(ConfigurationError, match="which is under way"):
        await connect(settings(tmp_path, url, **KEYS | {"PAYLOAD_KEYS": fresh_key()}), work=True)

    async with desk(tmp_path, url, **KEYS) as one:
        assert await one.state() == "pending"


# The form before this one


@pytest.mark.parametrize("engine_url", ["sqlite", "postgres"], indirect=True)
@pytest.mark.parametrize("need", ["any", "all"])
async def test_a_workflow_that_waited_before_the_upgrade_ends_after_it(
    tmp_path: Path, engine_url: str, before: pytest.MonkeyPatch, need: str
) -> None:
    people = [ADA, BOB]

    async with desk(tmp_path, engine_url, **KEYS) as one:
        await one.ask(people=people, need=need)
        links = [await one.link(person) for person in people]
        record = await raw(one, "promise.get", id="consult.1")
        assert base64.b64decode(record["param"]["data"]).startswith(b"\x01")

        if need == "all":
            await one.post(links[0])
            await pause(1)

    before.undo()

    async with desk(tmp_path, engine_url, **KEYS) as one:
        assert "Ship it?" in (await one.client.get(links[1])).text
        assert (await one.post(links[1])).status_code == 303

        assert (await one.ended())["result"]["decision"] == "approve"
        assert (await one.ended(steps=True))["steps"][0]["state"] == "succeeded"

    async with desk(tmp_path, engine_url, **KEYS) as one:
        assert (await one.ended())["result"]["decision"] == "approve"


async def test_what_ended_before_the_upgrade_is_still_read_after_it(tmp_path: Path, before: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path}/engine.db"

    async with desk(tmp_path, url, **KEYS) as one:
        link = await one.ask()
        await one.post(link)
        as_it_was = await one.ended(steps=True)

    before.undo()

    async with desk(tmp_path, url, **KEYS) as one:
        assert await one.ended(steps=True) == as_it_was
        assert (await one.post(link)).status_code == 303
        assert (await one.post(link, "reject")).status_code == 409


@pytest.mark.parametrize("promise_id", ["consult.1", "consult.1:1"])
async def test_a_payload_of_the_old_form_under_a_key_that_is_not_there_decides_nothing(promise_id: str) -> None:
    data = base64.b64encode(Unbound().encrypt(b"{}")).decode()

    async def send(*_: Any, **__: Any) -> tuple[int, Any]:
        record = {"id": promise_id, "state": "pending", "timeoutAt": 9, "tags": {}, "value": {}}
        return 200, {"promise": record | {"param": {"data": data}}}

    seal = Seal(send, PayloadCipher([Secret(b"k" * 32)]), Inside())

    with pytest.raises(PayloadKeyUnknown):
        await seal("promise.get", {"id": promise_id}, allow_409=False)


@pytest.mark.parametrize("slot", ["param", "value"])
async def test_a_payload_of_the_old_form_is_nothing_to_a_workflow_that_was_started_since(
    tmp_path: Path, before: pytest.MonkeyPatch, slot: str
) -> None:
    """Not even one that names the very promise it is copied to: a step may have returned what a caller made up."""
    url = f"sqlite:///{tmp_path}/engine.db"
    before.undo()
    made_up = {"countersign": 1, "promise": "consult.1:1", "callback": "question", "outcome": "approve"}
    forged = Codec(Unbound()).encode(made_up | {"body": "null", "by": "approver", "subject": ADA, "ikey": "k"})

    async with desk(tmp_path, url, **KEYS) as one:
        link = await one.ask()

        if slot == "value":
            await raw(one, "promise.settle", id="consult.1:1", state="resolved", value={"data": forged.data})
            assert_tampered(await one.ended(), "consult.1:1")
        else:
            held: Any = one.engine.resonate._network
            held.state.promises["consult.1:1"].param = msgspec.Raw(msgspec.json.encode(forged))
            assert is_tampered(await one.engine.promises.get("consult.1:1"))
            assert (await one.client.get(link)).status_code == 404


def claims_of(promise_id: str) -> Claims:
    return Claims(
        promise_id=promise_id,
        callback="answer",
        audience="machine",
        subject="",
        outcomes=("succeeded",),
        expires_at=2_000_000_000,
    )


async def test_the_binding_of_a_delivery_from_before_the_upgrade_holds(
    tmp_path: Path, before: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/engine.db"
    delivery: dict[str, Any] = {"source": "billing", "key": "0" * 64, "lasts": FOR_GOOD}

    async with desk(tmp_path, url, **KEYS) as one:
        await one.ask()
        await bind(one.engine.promises, claims=claims_of("consult.1:1"), **delivery)

    before.undo()

    async with desk(tmp_path, url, **KEYS) as one:
        assert await bind(one.engine.promises, claims=claims_of("consult.1:1"), **delivery)
        assert not await bind(one.engine.promises, claims=claims_of("consult.9:1"), **delivery)


async def test_an_old_binding_to_a_workflow_that_was_started_since_is_refused(
    tmp_path: Path, before: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/engine.db"
    delivery: dict[str, Any] = {"source": "billing", "key": "0" * 64, "lasts": FOR_GOOD}

    async with desk(tmp_path, url, **KEYS) as one:
        await bind(one.engine.promises, claims=claims_of("consult.1:1"), **delivery)

    before.undo()

    async with desk(tmp_path, url, **KEYS) as one:
        await one.ask()

        with pytest.raises(EngineUnavailable):
            await bind(one.engine.promises, claims=claims_of("consult.1:1"), **delivery)


# What this stands on


def test_a_payload_that_came_by_another_way_is_refused() -> None:
    inside = Inside()

    assert inside.decrypt(inside.encrypt(b"x")) == b"x"

    for data in (b"", b"x", Inside().encrypt(b"x"), PayloadCipher([raw_key()]).encrypt(b"x", b"")):
        with pytest.raises(PayloadRefused):
            inside.decrypt(data)


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


async def test_a_settlement_asks_for_its_record_only_when_that_was_not_read_just_now() -> None:
    asked: list[str] = []
    now = [100.0]
    record = {"id": "w.1:1", "state": "pending", "timeoutAt": 9, "tags": {LIFE_TAG: "one"}, "param": {}, "value": {}}

    async def send(kind: str, data: Any, *, allow_409: bool, routes_by: str | None = None) -> tuple[int, Any]:
        asked.append(kind)
        return 200, {"promise": {**record}}

    inside = Inside()
    seal = Seal(send, PayloadCipher([raw_key()]), inside, clock=lambda: now[0])
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

    seal = Seal(send, PayloadCipher([raw_key()]), Inside())

    assert await seal("promise.get", {"id": "w"}, allow_409=False) == (200, answer)


def test_the_two_refusals_are_not_mistaken_for_each_other() -> None:
    assert not issubclass(PayloadKeyUnknown, PayloadRefused)
