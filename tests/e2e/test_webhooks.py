"""Third-party deliveries end to end: on every engine, and through a receiver that is a process of its own."""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.configuration import environment
from support.edge import edge
from support.senders import as_github, senders, sources_file

from orchestrator.testing.processes import ROOT, Service, free_port, wait_until

HUB = '[sources.hub]\nscheme = "github"\nsecrets = ["env:HUB"]\nworkflow = "databricks_pipeline"\n'


async def test_a_delivery_settles_starts_and_does_so_once_on_every_engine(tmp_path: Path, engine_url: str) -> None:
    known = senders()
    starting = {"starts": senders()["stripe"]}
    text = (tmp_path / sources_file(tmp_path, known)).read_text()
    text += (tmp_path / sources_file(tmp_path, starting, 'workflow = "ask"\nid = "id"\ninput = "question"')).read_text()
    (tmp_path / "sources.toml").write_text(text)

    async with edge(tmp_path, engine_url, SOURCES="sources.toml") as here:

        async def deliver(name: str, body: object, token: str | None = None) -> dict[str, Any]:
            content = json.dumps(body)
            path = f"/webhooks/{name}" + (f"/{token}" if token else "")
            headers = (known | starting)[name].sign(content)
            answer = await here.client.post(path, content=content, headers=headers)
            assert answer.status_code == 200
            document: dict[str, Any] = answer.json()
            return document

        first, second = await here.asked("1"), await here.asked("2")
        assert (await deliver("github", {"n": 1}, first))["duplicate"] is False
        assert (await deliver("github", {"n": 1}, first))["duplicate"] is True
        assert (await deliver("github", {"n": 1}, second))["state"] == "over"
        assert (await deliver("stripe", {"n": 2}, second))["duplicate"] is False
        assert (await here.ended("1"))["result"] == {"kind": "succeeded", "value": {"n": 1}, "by": "webhook"}
        assert (await here.ended("2"))["result"] == {"kind": "succeeded", "value": {"n": 2}, "by": "webhook"}

        started = await deliver("starts", {"id": "evt_1", "question": {}})
        assert started["created"] is True
        assert await deliver("starts", {"id": "evt_1", "question": {}}) == started | {"created": False}
        assert await here.token(started["id"])


@pytest.mark.parametrize(
    ("text", "variable"),
    [
        ("nonsense", "COUNTERSIGN_SOURCES"),
        (f"{HUB}surprise = 1\n", "COUNTERSIGN_SOURCES"),
        (HUB.replace("databricks_pipeline", "nobody"), "COUNTERSIGN_SOURCES"),
        (HUB.replace("env:HUB", "env:MISSING"), "MISSING"),
        (HUB.replace("env:HUB", "env:WEAK"), "WEAK"),
        (HUB + HUB.replace("sources.hub", "sources.twin"), "HUB"),
    ],
)
def test_a_faulty_sources_file_refuses_the_start_before_anything_else(tmp_path: Path, text: str, variable: str) -> None:
    (tmp_path / "s.toml").write_text(text)
    hub = secrets.token_hex(20)
    ended = subprocess.run(
        [sys.executable, "-m", "receiver"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "COUNTERSIGN_PORT": str(free_port()), "HUB": hub, "WEAK": "weak-and-short"}
        | environment(f"sqlite:///{tmp_path}/engine.db", SOURCES="s.toml"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    (line,) = ended.stderr.splitlines()
    assert ended.returncode == 2
    assert line.startswith(variable)
    assert hub not in line
    assert "weak-and-short" not in line
    assert not (tmp_path / "engine.db").exists()


def test_sighup_loads_a_changed_file_and_keeps_the_old_one_if_the_new_one_is_broken(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text(HUB)
    hub = secrets.token_hex(20)
    chosen = {"COUNTERSIGN_SOURCES": str(file), "HUB": hub}

    with Service(tmp_path, "memory://", environment=chosen) as service:
        service.start()
        assert delivered(service, "hub", hub) == 200

        file.write_text("nonsense")
        hang_up(service)
        wait_until(
            "it says so", lambda: "the sources stay as they were: COUNTERSIGN_SOURCES" in service.log.read_text()
        )
        assert delivered(service, "hub", hub) == 200

        file.write_text(HUB.replace("sources.hub", "sources.renamed"))
        hang_up(service)
        wait_until("the new one is in use", lambda: delivered(service, "renamed", hub) == 200)
        assert delivered(service, "hub", hub) == 404
        assert hub not in service.log.read_text()


def hang_up(service: Service) -> None:
    service._running["receiver"].send_signal(signal.SIGHUP)


def delivered(service: Service, name: str, secret: str) -> int:
    body = {"job_id": 1}
    return service.ask("POST", f"/webhooks/{name}", body, headers=as_github(secret, json.dumps(body), 0)).status
