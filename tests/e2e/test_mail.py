"""From the API to a strict relay and back: the person who was named is asked, and nobody else ever is."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from support.approving import link_in
from support.configuration import API_KEY, environment
from support.plant import PATIENCE, pause
from support.relay import Received, Relay

from orchestrator.config.settings import load_settings
from orchestrator.engine import connect
from orchestrator.worker import prepare_worker
from orchestrator.workflows import approve_and_ship
from receiver.app import create_app

PASSWORD = "Passwort-für-€-密码"
KEY = {"Authorization": f"Bearer {API_KEY}"}


@contextlib.asynccontextmanager
async def service(directory: Path, relay: Relay, certificate: Path) -> AsyncIterator[httpx2.AsyncClient]:
    """Run the service from its environment, with its mail going to the relay."""
    with relay.running(certificate) as port:
        password = "".join(f"%{byte:02x}" for byte in PASSWORD.encode())
        mail = f"smtp://{relay.user}:{password}@localhost:{port}?hello=mx.example.org&from=asks@b%C3%BCcher.example"
        variables = environment(MAIL=mail, NAME="Bücher & Söhne") | {"SSL_CERT_FILE": str(certificate)}
        chosen = load_settings(variables, directory)
        engine = await connect(chosen, work=True)
        prepare_worker(engine, chosen, [approve_and_ship])
        engine.start()
        app = create_app(chosen, engine, {approve_and_ship.name: approve_and_ship})
        transport = httpx2.ASGITransport(app=app)

        async with httpx2.AsyncClient(
            transport=transport, base_url="http://127.0.0.1:8000", timeout=PATIENCE
        ) as client:
            try:
                yield client
            finally:
                await engine.stop()


async def start(client: httpx2.AsyncClient, approver: str, **fields: Any) -> httpx2.Response:
    body = {"order_id": "42", "approver": approver, "summary": "Two books", **fields}

    return await client.put("/workflows/approve_and_ship/1", content=json.dumps(body), headers=KEY | JSON)


JSON = {"Content-Type": "application/json"}


async def received(relay: Relay, count: int) -> list[Received]:
    for _ in range(int(PATIENCE * 50)):
        if len(relay.received) >= count or relay.refusals:
            break

        await pause(0.02)

    assert relay.refusals == []
    return relay.received


async def test_a_person_with_an_internationalised_address_is_asked_reminded_and_decides(
    tmp_path: Path, certificate: Path
) -> None:
    relay = Relay(password=PASSWORD)

    async with service(tmp_path, relay, certificate) as client:
        assert (await start(client, "ju\u0308rgen@bücher.example", remind_after=0.5)).status_code == 201
        first, second, *_ = await received(relay, 2)
        answer = await client.post(link_in(first.text()), data={"decision": "approve"})
        ended = await client.get("/workflows/approve_and_ship/1", headers=KEY | {"Prefer": "wait=20"})

    assert first.recipient == second.recipient == first.header("to") == "jürgen@xn--bcher-kva.example"
    assert first.message["from"] == "Bücher & Söhne <asks@xn--bcher-kva.example>"
    assert second.header("references") == first.header("message-id")
    assert {command for command in relay.commands if command.startswith("ehlo")} == {"ehlo mx.example.org"}
    assert answer.status_code == 303
    assert ended.json()["result"]["decided_by"] == "jürgen@xn--bcher-kva.example"


async def test_an_address_that_the_mail_server_does_not_support_fails_the_workflow_with_the_reason(
    tmp_path: Path, certificate: Path
) -> None:
    relay = Relay(password=PASSWORD, extensions=("8BITMIME",))

    async with service(tmp_path, relay, certificate) as client:
        await start(client, "jürgen@example.org")
        ended = await client.get("/workflows/approve_and_ship/1", headers=KEY | {"Prefer": "wait=20"})

    assert ended.json()["state"] == "failed"
    assert "SMTPUTF8" in ended.json()["error"]["message"]
    assert not any(command.startswith("MAIL") for command in relay.commands)


@pytest.mark.parametrize(
    "approver",
    [
        "=?utf-8?q?e=40evil.example=3e?=x@corp.example",
        '"e@evil.example>"@corp.example',
        "e@evil.example(x@corp.example)",
        "<@evil.example:x@corp.example>",
        "x@corp.example\r\nRCPT TO:<e@evil.example>",
        "x@corp.example, e@evil.example",
        "e%evil.example@corp.example",
        "e\uff20evil.example@corp.example",
    ],
)
async def test_an_ambiguous_address_starts_nothing(tmp_path: Path, certificate: Path, approver: str) -> None:
    relay = Relay(password=PASSWORD)

    async with service(tmp_path, relay, certificate) as client:
        answer = await start(client, approver)
        there = await client.get("/workflows/approve_and_ship/1", headers=KEY)

    assert answer.status_code == 422
    assert "approver" in answer.text
    assert "evil" not in answer.text
    assert there.status_code == 404
    assert relay.commands == []
