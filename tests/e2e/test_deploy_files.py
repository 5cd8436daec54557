"""The files of scripts/deploy: systemd accepts the units and their commands run, and the proxies ask for https."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.configuration import environment
from support.proxying import DEPLOY

from orchestrator.testing.processes import ROOT, free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from support.engines import Database

UNITS = sorted(DEPLOY.glob("*.service"))


class Unit(configparser.RawConfigParser):
    """A unit file. Its names are case-sensitive."""

    def optionxform(self, optionstr: str) -> str:
        return optionstr


def unit(name: str) -> Mapping[str, str]:
    """Return the [Service] section of a unit file."""
    parser = Unit()
    parser.read(DEPLOY / f"countersign-{name}@.service")

    return parser["Service"]


def start(name: str, instance: str, folder: Path, variables: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start the unit's command for this instance, with these variables in its environment file."""
    service = unit(name)
    own = service.get("Environment", "").replace("%i", instance)
    command = shlex.split(service["ExecStart"].replace("%i", instance))
    installed = command.index("/opt/countersign/.venv/bin/python")
    command[installed] = sys.executable

    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            command,
            cwd=folder,
            # As in systemd, the file overrides Environment=.
            env=dict([own.split("=", 1)] if own else []) | {"PYTHONPATH": str(ROOT)} | variables,
            stdout=log,
            stderr=log,
        )


def said(folder: Path, text: str) -> bool:
    return text in (folder / "log").read_text()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on PATH")
@pytest.mark.parametrize("file", UNITS, ids=lambda file: file.name)
def test_systemd_finds_no_fault_in_a_unit(file: Path) -> None:
    assert faults(file) == ""


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on PATH")
def test_systemd_would_find_a_fault(tmp_path: Path) -> None:
    (file := tmp_path / UNITS[0].name).write_text(UNITS[0].read_text().replace("Restart=always", "Restart=allways"))

    assert "allways" in faults(file)


def faults(file: Path) -> str:
    command = ["systemd-analyze", "verify", "--man=no", str(file)]

    return subprocess.run(command, capture_output=True, text=True, check=False).stderr


def test_the_receivers_unit_serves_on_the_port_of_its_instance_and_stops_with_code_0(tmp_path: Path) -> None:
    port = str(free_port())
    process = start("receiver", port, tmp_path, environment(f"sqlite:///{tmp_path}/engine.db"))

    try:
        wait_until("the receiver listens", lambda: said(tmp_path, f"receiving on http://127.0.0.1:{port}"))
        process.send_signal(signal.SIGHUP)  # systemctl reload
        process.terminate()
        assert process.wait(int(unit("receiver")["TimeoutStopSec"])) == 0
    finally:
        process.kill()


@pytest.mark.parametrize("name", ["receiver", "worker"])
def test_a_refused_start_has_the_exit_code_that_systemd_does_not_restart(name: str, tmp_path: Path) -> None:
    process = start(name, "8000", tmp_path, environment(SIGNING_KEYS=None))

    assert process.wait(30) == int(unit(name)["RestartPreventExitStatus"])


def test_the_workers_unit_works_for_the_group_of_its_instance(tmp_path: Path, postgres_url: str) -> None:
    process = start("worker", "db", tmp_path, environment(postgres_url))

    try:
        wait_until("the worker works", lambda: said(tmp_path, "group db"))
        process.terminate()
        assert process.wait(int(unit("worker")["TimeoutStopSec"])) == 0
    finally:
        process.kill()


@pytest.fixture
def postgres_url(request: pytest.FixtureRequest) -> str:
    database: Database = request.getfixturevalue("database")

    return database.fresh()


@pytest.mark.parametrize("name", ["nginx.conf", "Caddyfile"])
def test_the_proxies_ask_browsers_for_https(name: str) -> None:
    found = re.search(r'Strict-Transport-Security "max-age=(\d+); includeSubDomains"', (DEPLOY / name).read_text())

    assert found is not None
    assert int(found[1]) >= 365 * 86_400


@pytest.mark.skipif(shutil.which("caddy") is None, reason="no caddy on PATH")
def test_caddy_accepts_the_unchanged_file(tmp_path: Path) -> None:
    command = ["caddy", "validate", "--adapter", "caddyfile", "--config", str(DEPLOY / "Caddyfile")]
    environ = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)

    assert ended.returncode == 0, ended.stderr
