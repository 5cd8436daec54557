"""Payloads from before they were bound to their place are read below their own workflow, and nowhere else."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from resonate.codec import Codec
from support.approving import ADA, BOB, desk
from support.plant import pause
from support.tampering import KEYS, assert_tampered, raw, raw_key

from orchestrator.callbacks.claims import Claims
from orchestrator.callbacks.delivery_binding import PERMANENTLY, bind
from orchestrator.config.secret import Secret
from orchestrator.engine import connecting
from orchestrator.engine.encryption.cipher import PayloadCipher, PayloadKeyUnknown, _key_id
from orchestrator.engine.encryption.record_reader import PayloadMarker
from orchestrator.engine.encryption.sealing import Seal
from orchestrator.errors import EngineUnavailable
from orchestrator.failures import is_tampered


class Unbound:
    """The encryptor of the previous version: the same cipher, without the place."""

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
    """Makes processes write as the previous version did, until this is undone."""
    monkeypatch.setattr(connecting, "PayloadMarker", Unbound)
    monkeypatch.setattr(connecting, "seal", lambda *_: None)
    return monkeypatch


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
async def test_a_payload_of_the_old_form_under_a_missing_key_decides_nothing(promise_id: str) -> None:
    data = base64.b64encode(Unbound().encrypt(b"{}")).decode()

    async def send(*_: Any, **__: Any) -> tuple[int, Any]:
        record = {"id": promise_id, "state": "pending", "timeoutAt": 9, "tags": {}, "value": {}}
        return 200, {"promise": record | {"param": {"data": data}}}

    seal = Seal(send, PayloadCipher([Secret(b"k" * 32)]), PayloadMarker())

    with pytest.raises(PayloadKeyUnknown):
        await seal("promise.get", {"id": promise_id}, allow_409=False)


@pytest.mark.parametrize("slot", ["param", "value"])
async def test_a_payload_of_the_old_form_is_refused_in_a_workflow_that_was_started_later(
    tmp_path: Path, before: pytest.MonkeyPatch, slot: str
) -> None:
    """Not even one that names the promise it is copied to: a step may have returned what a caller made up."""
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
    delivery: dict[str, Any] = {"source": "billing", "key": "0" * 64, "lasts": PERMANENTLY}

    async with desk(tmp_path, url, **KEYS) as one:
        await one.ask()
        await bind(one.engine.promises, claims=claims_of("consult.1:1"), **delivery)

    before.undo()

    async with desk(tmp_path, url, **KEYS) as one:
        assert await bind(one.engine.promises, claims=claims_of("consult.1:1"), **delivery)
        assert not await bind(one.engine.promises, claims=claims_of("consult.9:1"), **delivery)


async def test_an_old_binding_to_a_workflow_that_was_started_later_is_refused(
    tmp_path: Path, before: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/engine.db"
    delivery: dict[str, Any] = {"source": "billing", "key": "0" * 64, "lasts": PERMANENTLY}

    async with desk(tmp_path, url, **KEYS) as one:
        await bind(one.engine.promises, claims=claims_of("consult.1:1"), **delivery)

    before.undo()

    async with desk(tmp_path, url, **KEYS) as one:
        await one.ask()

        with pytest.raises(EngineUnavailable):
            await bind(one.engine.promises, claims=claims_of("consult.1:1"), **delivery)
