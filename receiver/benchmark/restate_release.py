"""Fetching Restate for the comparison: its server from npm, its Python SDK from PyPI, both in pinned versions.

They go into a cache folder of the user and are used from there the next time. Nothing of Restate is part of this
project, and no script of a package runs during the installation.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

SERVER: Final = "1.7.12"
SDK: Final = "1.3.0"

#: The SDK's server and what it needs, complete, so that `pip` resolves nothing.
_PACKAGES: Final = (
    f"restate_sdk=={SDK}",
    *("hypercorn==0.18.0", "h11==0.16.0", "h2==4.4.1", "hpack==4.2.0", "hyperframe==6.1.0"),
    *("priority==2.0.0", "wsproto==1.3.2", "uvloop==0.23.0"),
)
#: Seconds that each of the two installations may take: the server has a hundred megabytes.
_PATIENCE: Final = 600.0


class NotFetched(Exception):
    """Restate cannot be had here. The text says why, in one line."""


@dataclass(frozen=True)
class Release:
    """Where Restate is: the server's program, and the interpreter of an environment with the Python SDK."""

    server: Path
    python: Path


def cache_folder() -> Path:
    """Return the user's folder for it: `countersign/restate-VERSION` in `XDG_CACHE_HOME` or `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    cache = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"

    return cache / "countersign" / f"restate-{SERVER}-{SDK}"


def fetch(folder: Path, *, path: str | None = None, python: str = sys.executable) -> Release:
    """Return the release in this folder, fetched if it is not there. `path` is searched for `npm`, by default PATH.

    Raises:
        NotFetched: npm is missing, or something could not be fetched or does not run on this platform.
    """
    release = Release(_server(folder), folder / "python" / "bin" / "python")
    complete = folder / "complete"

    if not complete.is_file():
        npm = shutil.which("npm", path=path)

        if npm is None:
            raise NotFetched("npm, which fetches Restate's server, is not on the PATH")

        # What an interrupted installation left is not used.
        shutil.rmtree(folder, ignore_errors=True)
        _install(folder, npm, python)
        release = Release(_server(folder), release.python)
        complete.touch()

    _run("the fetched Restate server does not run here", [str(release.server), "--version"])

    return release


def _server(folder: Path) -> Path:
    """Return the server's program; npm chooses the package for this platform."""
    found = sorted(folder.glob("node_modules/@restatedev/restate-server-*/bin/restate-server"))

    return found[0] if found else folder / "restate-server"


def _install(folder: Path, npm: str, python: str) -> None:
    try:
        folder.mkdir(parents=True)
        (folder / "package.json").write_text('{"private": true}\n')
    except OSError as error:
        raise NotFetched(f"the cache folder {folder} cannot be written: {error.strerror}") from error

    quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
    server = f"@restatedev/restate-server@{SERVER}"
    _run("npm could not install Restate's server", [npm, "install", "--prefix", str(folder), *quiet, server])

    if not _server(folder).is_file():
        raise NotFetched("Restate publishes no server for this platform on npm")

    own = folder / "python"
    _run("no environment for Restate's SDK can be made", [python, "-m", "venv", str(own)])
    pip = [str(own / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run("pip could not install Restate's SDK", [*pip, "--no-deps", "--only-binary", ":all:", *_PACKAGES])


def _run(what: str, command: Sequence[str]) -> None:
    try:
        ended = subprocess.run(  # noqa: S603 - the programs named above
            command, capture_output=True, text=True, timeout=_PATIENCE, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = "it took too long" if isinstance(error, subprocess.TimeoutExpired) else error.strerror
        raise NotFetched(f"{what}: {reason}") from error

    if ended.returncode != 0:
        last = (ended.stderr or ended.stdout).strip().splitlines() or ["no output"]
        raise NotFetched(f"{what}: {last[-1].strip()[:200]}")
