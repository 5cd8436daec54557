"""The distribution: built as anybody would build it, installed without this checkout, and used from there."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from orchestrator.testing.processes import ROOT, free_port, wait_until

COMMANDS = ("receiver", "worker", "doctor", "keys", "notebook", "emulator", "bench")
JOB = 7
WORKFLOW = "/workflows/databricks_pipeline/nightly"
OWN_WORKFLOW = '''
from pydantic import BaseModel

from orchestrator import Context, workflow


class Nothing(BaseModel):
    """No input."""


@workflow()
async def own(ctx: Context, request: Nothing) -> str:
    return "from the working directory"
'''


class Installed:
    """An environment with the wheel and its dependencies, and a working folder."""

    def __init__(self, environment: Path, folder: Path) -> None:
        self.folder = folder
        self.python = environment / "bin/python"
        self.command = environment / "bin/countersign"

    def variables(self, **more: str) -> dict[str, str]:
        return {"PATH": os.environ.get("PATH", ""), **more}

    def run(self, *command: object, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(part) for part in command],
            cwd=self.folder,
            env=self.variables(**variables),
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    def start(self, *arguments: str, output: IO[bytes], **variables: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [self.command, *arguments],
            cwd=self.folder,
            env=self.variables(**variables),
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def uv(*arguments: object, **variables: str) -> None:
    """Run uv without the network if that works, otherwise with it."""
    command = shutil.which("uv") or str(ROOT / ".uv/bin/uv")

    if not Path(command).exists():
        pytest.skip("no uv on PATH, and none installed by scripts/test")

    def run(*where: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [command, *map(str, arguments), *where],
            env=os.environ | {"UV_PYTHON": sys.executable, "UV_PYTHON_DOWNLOADS": "never"} | variables,
            capture_output=True,
            text=True,
            check=False,
        )

    if run("--offline").returncode:
        ran = run()
        assert ran.returncode == 0, ran.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the source distribution and the wheel that was built from it."""
    out = tmp_path_factory.mktemp("built")
    uv("build", "--quiet", "--out-dir", out, ROOT)

    return out


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (one,) = built.glob("*.whl")

    return one


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    environment = tmp_path_factory.mktemp("environment") / "venv"
    # First its dependencies in the locked versions, then the wheel, which names its dependencies as well.
    only = ("--frozen", "--no-dev", "--no-install-project", "--quiet")
    uv("sync", "--project", ROOT, *only, UV_PROJECT_ENVIRONMENT=str(environment))
    uv("pip", "install", "--quiet", "--no-deps", "--python", environment / "bin/python", wheel)
    uv("pip", "check", "--quiet", "--python", environment / "bin/python")

    return Installed(environment, tmp_path_factory.mktemp("elsewhere"))


def sources() -> set[str]:
    """Return every file of our packages, by its path in the distribution."""
    files = [file for package in ("orchestrator", "receiver") for file in (ROOT / package).rglob("*") if file.is_file()]

    return {file.relative_to(ROOT).as_posix() for file in files if file.suffix != ".pyc"}


def test_the_wheel_contains_all_of_both_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
        notebook = archive.read("orchestrator/databricks/notebook.py")

    assert {name for name in names if ".dist-info/" not in name} == sources()
    assert {"orchestrator/py.typed", "receiver/py.typed", "orchestrator/config/published.sha256"} <= names
    assert notebook == (ROOT / "scripts/notebook.py").read_bytes()


def test_the_source_distribution_contains_everything_the_wheel_is_built_from(built: Path) -> None:
    (archive,) = built.glob("*.tar.gz")

    with tarfile.open(archive) as contents:
        names = {member.name.partition("/")[2] for member in contents.getmembers() if not member.isdir()}

    assert sources() | {"LICENSE", "README.md", "pyproject.toml"} <= names
    assert not any(name.startswith(("tests/", ".venv/", ".uv/")) for name in names)


def test_the_code_that_runs_comes_from_the_wheel(installed: Installed) -> None:
    program = "import orchestrator, receiver, sys; print(orchestrator.__file__, receiver.__file__, *sys.path)"
    ran = installed.run(installed.python, "-c", program)
    orchestrator, receiver, *path = ran.stdout.split()

    assert {Path(file).parents[1] for file in (orchestrator, receiver)} == {
        *installed.python.parents[1].glob("lib/python*/site-packages")
    }
    assert not any(Path(entry).is_relative_to(ROOT) for entry in path)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_its_help(installed: Installed, name: str) -> None:
    ran = installed.run(installed.command, name, "--help")

    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith(f"usage: countersign {name} ")


def test_the_command_lists_its_subcommands_and_its_version(installed: Installed, wheel: Path) -> None:
    shown = installed.run(installed.command, "--help").stdout

    assert all(f"\n  {name} " in shown for name in COMMANDS)
    assert installed.run(installed.command, "--version").stdout == f"countersign {wheel.name.split('-')[1]}\n"


def test_the_notebook_is_the_one_in_scripts(installed: Installed) -> None:
    assert installed.run(installed.command, "notebook").stdout == (ROOT / "scripts/notebook.py").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        (("receiver",), {}, r"COUNTERSIGN_PUBLIC_URL is required"),
        (("worker",), {"COUNTERSIGN_ENGINE": "postgresql://127.0.0.1/none"}, r".*install 'countersign\[postgres\]'"),
        (("bench", "--size", "1"), {}, r"countersign bench .*install 'countersign\[bench\]'"),
    ],
)
def test_a_refused_start_is_one_line(
    installed: Installed, configured: dict[str, str], arguments: tuple[str, ...], variables: dict[str, str], said: str
) -> None:
    ran = installed.run(installed.command, *arguments, **((configured | variables) if variables else {}))

    assert (ran.returncode, ran.stdout) == (2, "")
    assert re.fullmatch(f"{said}\n", ran.stderr), ran.stderr


@pytest.fixture(scope="module")
def configured(installed: Installed) -> dict[str, str]:
    """The variables that configure this service, with the secrets that `countersign keys` printed."""
    printed = installed.run(installed.command, "keys").stdout
    secrets = dict(re.findall(r"^(COUNTERSIGN_(?:SIGNING|PAYLOAD|API)_KEYS)=(\S+)$", printed, re.MULTILINE))
    (key,) = re.findall(r"^# Authorization: Bearer (\S+)$", printed, re.MULTILINE)
    assert hashlib.sha256(key.encode()).hexdigest() in secrets["COUNTERSIGN_API_KEYS"]
    port = free_port()
    url = f"http://127.0.0.1:{port}"

    return {**secrets, "COUNTERSIGN_PUBLIC_URL": url, "COUNTERSIGN_PORT": str(port), "API_KEY": key}


@pytest.fixture
def databricks(installed: Installed, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The emulator, started by its command; yields the variables that a receiver needs for it."""
    with (tmp_path / "emulator.log").open("wb") as output:
        process = installed.start("emulator", "--job", f"{JOB}=notebook", output=output)

    try:
        wait_until("the emulator prints its address", lambda: "\n" in (tmp_path / "emulator.log").read_text())
        url = (tmp_path / "emulator.log").read_text().split("\n")[0]

        yield {"DATABRICKS_HOST": url, "DATABRICKS_TOKEN": "emulator-token"}
    finally:
        process.terminate()
        assert process.wait(30) == 0


def asked(configured: dict[str, str], method: str, path: str, body: object = None, **headers: str) -> Any:
    """Return the document in the service's response."""
    request = urllib.request.Request(  # noqa: S310 - loopback
        configured["COUNTERSIGN_PUBLIC_URL"] + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {configured['API_KEY']}", "Content-Type": "application/json", **headers},
    )

    with urllib.request.urlopen(request, timeout=40) as answer:  # noqa: S310 - as above
        return json.loads(answer.read())


def is_ready(configured: dict[str, str]) -> bool:
    try:
        return bool(asked(configured, "GET", "/readyz"))
    except OSError:
        return False


def test_a_pipeline_and_an_own_workflow_succeed(
    installed: Installed, configured: dict[str, str], databricks: dict[str, str], tmp_path: Path
) -> None:
    (installed.folder / "own_workflows.py").write_text(OWN_WORKFLOW)
    log = tmp_path / "receiver.log"
    variables = {
        **{name: value for name, value in configured.items() if name != "API_KEY"},
        "COUNTERSIGN_ENGINE": f"sqlite:///{tmp_path}/engine.db",
        "COUNTERSIGN_WORKFLOWS": "orchestrator.workflows,own_workflows",
        **databricks,
    }

    with log.open("wb") as output:
        receiver = installed.start("receiver", output=output, **variables)

    try:
        wait_until("the receiver is ready", lambda: receiver.poll() is not None or is_ready(configured))
        assert receiver.poll() is None, log.read_text()
        asked(configured, "PUT", WORKFLOW, {"job_id": JOB, "parameters": {"rows": "3", "seconds": "0"}})
        ended = asked(configured, "GET", WORKFLOW, Prefer="wait=30")
        own = asked(configured, "PUT", "/workflows/own/1", {}, Prefer="wait=30")
    finally:
        receiver.terminate()
        assert receiver.wait(30) == 0, log.read_text()

    assert (ended["state"], ended["result"]["outcome"]) == ("succeeded", "succeeded"), ended
    assert own["result"] == "from the working directory"
