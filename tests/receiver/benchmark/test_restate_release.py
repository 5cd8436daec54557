"""Fetching Restate, and what is said where it cannot be had. Nothing here asks a package index."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from receiver.benchmark.restate_release import NotFetched, cache_folder, fetch

#: These tests start programs.
pytestmark = pytest.mark.slow

SERVER = "node_modules/@restatedev/restate-server-linux-x64/bin/restate-server"


def program(file: Path, script: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file


@pytest.fixture
def bin_folder(tmp_path: Path) -> Path:
    return tmp_path / "bin"


def test_without_npm_it_says_so_and_makes_nothing(tmp_path: Path, bin_folder: Path) -> None:
    with pytest.raises(NotFetched, match="npm, which fetches Restate's server, is not on the PATH"):
        fetch(tmp_path / "cache", path=str(bin_folder))

    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("npm", "reason"),
    [
        ("echo 'npm error network down' >&2; exit 1", "npm could not install Restate's server: npm error network down"),
        ("exit 1", "npm could not install Restate's server: no output"),
        ("exit 0", "Restate publishes no server for this platform on npm"),
    ],
)
def test_a_failed_installation_is_one_line(tmp_path: Path, bin_folder: Path, npm: str, reason: str) -> None:
    program(bin_folder / "npm", npm)

    with pytest.raises(NotFetched) as raised:
        fetch(tmp_path / "cache", path=str(bin_folder))

    assert str(raised.value) == reason


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path, bin_folder: Path) -> None:
    program(bin_folder / "npm", "exit 0")
    (tmp_path / "file").touch()

    with pytest.raises(NotFetched, match="cannot be written"):
        fetch(tmp_path / "file" / "cache", path=str(bin_folder))


def test_npm_runs_no_scripts_and_what_is_there_is_not_fetched_again(tmp_path: Path, bin_folder: Path) -> None:
    cache, said = tmp_path / "cache", tmp_path / "said"
    server = shlex.quote(str(cache / SERVER))
    npm = f"echo $* >> {said}; mkdir -p $(dirname {server}); printf '#!/bin/sh\\n' > {server}; chmod +x {server}"
    program(bin_folder / "npm", npm)
    # It stands for `python -m venv FOLDER`, and for the pip of the environment that this makes.
    make = '[ "$2" != venv ] || { mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; }'
    python = program(tmp_path / "python", f"echo $* >> {said}; {make}")

    release = fetch(cache, path=str(bin_folder), python=str(python))
    fetched = said.read_text()
    again = fetch(cache, path="", python=str(python))

    assert "--ignore-scripts" in fetched
    assert "@restatedev/restate-server@1." in fetched
    assert "--only-binary :all: restate_sdk==1." in fetched
    assert (again, said.read_text()) == (release, fetched)
    assert release.server == cache / SERVER


def test_an_interrupted_installation_is_not_used(tmp_path: Path) -> None:
    program(tmp_path / "cache" / SERVER, "exit 0")

    with pytest.raises(NotFetched, match="npm"):
        fetch(tmp_path / "cache", path="")


def test_a_server_that_does_not_run_is_one_line(tmp_path: Path) -> None:
    program(tmp_path / "cache" / SERVER, "echo 'GLIBC_9.9 not found' >&2; exit 1")
    (tmp_path / "cache" / "complete").touch()

    with pytest.raises(NotFetched, match=r"does not run here: GLIBC_9\.9 not found"):
        fetch(tmp_path / "cache", path="", python=sys.executable)


@pytest.mark.parametrize("value", ["", "relative"])
def test_it_is_kept_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    assert cache_folder().is_relative_to(Path.home() / ".cache" / "countersign")

    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache")
    assert cache_folder().is_relative_to("/var/cache/countersign")
