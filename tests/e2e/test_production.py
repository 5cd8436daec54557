"""The production environment: after `uv sync --no-dev --frozen`, a checkout runs the service without other tools."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from urllib.request import urlopen

import pytest
from support.configuration import environment
from support.source import imported, python_files, tree

from orchestrator.testing.processes import ROOT, free_port, wait_until

PARTS = ("orchestrator", "receiver", "scripts", "pyproject.toml", "uv.lock", "README.md", "LICENSE", ".python-version")
EVERYTHING = """
import importlib, pkgutil, orchestrator, receiver

for package in (orchestrator, receiver):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            print(module.name)
"""

#: The modules of the benchmark that need what it compares with.
BENCHMARK = ("bench", "databases", "lists", "measuring", "restate_subject", "servers", "soak", "subjects")

#: The modules that need an extra: those, and those for Postgres.
EXTRAS = {
    "orchestrator.engine.remote.postgres",
    *(f"receiver.benchmark.{name}" for name in BENCHMARK),
}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def development_tools() -> set[str]:
    """Return the distributions that only the development group installs, including their dependencies."""
    packages = {one["name"]: one for one in tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))["package"]}
    own = packages["countersign"]

    def reached(dependencies: list[dict[str, str]]) -> set[str]:
        found: set[str] = set()
        waiting = [one["name"] for one in dependencies]

        while waiting:
            name = waiting.pop()

            if name not in found:
                found.add(name)
                waiting += [one["name"] for one in packages[name].get("dependencies", [])]

        return found

    extras = [one for extra in own["optional-dependencies"].values() for one in extra]

    return reached(own["dev-dependencies"]["dev"]) - reached(own["dependencies"] + extras)


class Checkout:
    """A copy of this checkout with an environment of its own."""

    def __init__(self, root: Path, uv: str) -> None:
        self.root = root
        self.python = root / ".venv/bin/python"
        self._path = os.pathsep.join([str(Path(uv).parent), os.environ.get("PATH", "")])

    def run(self, *command: object, **variables: str) -> subprocess.CompletedProcess[str]:
        kept = {name: os.environ[name] for name in ("HOME", "UV_CACHE_DIR", "SSL_CERT_FILE") if name in os.environ}

        return subprocess.run(
            [str(part) for part in command],
            cwd=self.root,
            env=kept | {"PATH": self._path, "UV_PYTHON": sys.executable, "UV_PYTHON_DOWNLOADS": "never"} | variables,
            capture_output=True,
            text=True,
            check=False,
        )

    def installed(self) -> set[str]:
        ran = self.run(
            *(self.python, "-c"),
            "import importlib.metadata as m, json; print(json.dumps([one.name for one in m.distributions()]))",
        )

        return {normal(name) for name in json.loads(ran.stdout)}


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    uv = shutil.which("uv") or next((str(file) for file in [ROOT / ".uv/bin/uv"] if file.exists()), None)

    if uv is None:
        pytest.skip("no uv on PATH, and none installed by scripts/test")

    root = tmp_path_factory.mktemp("production") / "checkout"
    root.mkdir()

    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, root / part)

    one = Checkout(root, uv)
    ran = one.run(uv, "sync", "--no-dev", "--frozen", "--quiet")
    assert ran.returncode == 0, ran.stderr

    return one


def test_no_development_tool_is_installed(production: Checkout) -> None:
    assert production.installed() & development_tools() == set()
    assert {"pytest", "mypy", "ruff", "hypothesis", "playwright", "pip-audit"} <= development_tools()


def test_every_module_can_be_imported_but_for_those_that_need_an_extra(production: Checkout) -> None:
    ran = production.run(production.python, "-c", EVERYTHING)

    assert (ran.returncode, ran.stderr) == (0, "")
    assert set(ran.stdout.split()) == EXTRAS


@pytest.mark.parametrize("module", ["receiver", "orchestrator"])
def test_postgres_without_its_extra_is_refused_with_the_line_that_installs_it(
    production: Checkout, module: str
) -> None:
    variables = environment("postgresql://127.0.0.1/none", PORT=str(free_port()))
    ran = production.run(production.python, "-m", module, **variables)

    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == (
        "COUNTERSIGN_ENGINE names a Postgres database, whose driver is an extra: pip install 'countersign[postgres]'\n"
    )


def test_nothing_that_runs_in_production_imports_a_development_tool_not_even_late() -> None:
    tools = development_tools()
    brought = {
        name for name, owners in packages_distributions().items() if {normal(owner) for owner in owners} <= tools
    }
    files = [file for file in python_files("orchestrator", "receiver") if "benchmark" not in file.parts]

    assert {
        file.name: brought & set(imported(tree(file))) for file in files if brought & set(imported(tree(file)))
    } == {}
    assert "pytest" in brought


def test_the_receiver_starts_and_answers(production: Checkout, tmp_path: Path) -> None:
    port = free_port()
    log = tmp_path / "log"

    with log.open("wb") as output:
        receiver = subprocess.Popen(
            [production.python, "-m", "receiver"],
            cwd=production.root,
            env=environment(f"sqlite:///{tmp_path}/engine.db", PORT=str(port)),
            stdout=output,
            stderr=output,
        )

    try:
        wait_until("the receiver is ready", lambda: receiver.poll() is not None or ready(port))
        assert receiver.poll() is None, log.read_text()
    finally:
        receiver.terminate()
        assert receiver.wait(30) == 0, log.read_text()


def test_a_worker_gets_as_far_as_its_engine(production: Checkout) -> None:
    ran = production.run(production.python, "-m", "orchestrator", **environment("memory://"))

    assert ran.returncode == 2
    assert "python -m receiver" in ran.stderr


def test_the_programs_of_an_operator_run_and_install_no_development_tool(production: Checkout, tmp_path: Path) -> None:
    keys = production.run("scripts/keys")
    assert keys.returncode == 0
    assert "COUNTERSIGN_SIGNING_KEYS=" in keys.stdout

    doctor = production.run("scripts/doctor", **environment(f"sqlite:///{tmp_path}/engine.db"))
    assert "engine" in doctor.stdout, doctor.stderr
    assert production.installed() & development_tools() == set()

    # They install the extras, so a checkout works with every engine.
    ran = production.run(production.python, "-c", EVERYTHING)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def ready(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
