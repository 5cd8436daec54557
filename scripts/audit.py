"""Checks every version in the lock file for known vulnerabilities, development tools included.

`audit.py [LOCK]` runs pip-audit, so its PIP_AUDIT_* variables apply. The exit code is 1 if a vulnerability is found.
A package index without vulnerability data would find none at all. So a version that is known to be vulnerable is
checked first: if even that one passes, the audit is skipped, and one line says so.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any, Final

LOCK: Final = Path(__file__).resolve().parent.parent / "uv.lock"
VULNERABLE: Final = "jinja2==2.4.1"
SKIPPED: Final = "No audit for known vulnerabilities: the data cannot be reached."


class NoData(Exception):
    """No data about vulnerabilities could be reached."""


def locked(text: str) -> list[list[str]]:
    """Return what a lock file takes from a package index as lists of `name==version`.

    A lock file may name a package more than once, for different Pythons; each of the lists names it only once.
    """
    packages = [one for one in tomllib.loads(text)["package"] if "registry" in one["source"]]
    lists: list[list[str]] = []

    for package in packages:
        name, version = package["name"], package["version"]
        free = next((each for each in lists if not any(line.startswith(f"{name}==") for line in each)), None)

        if free is None:
            lists.append(free := [])

        free.append(f"{name}=={version}")

    return lists


def audit(requirements: list[str]) -> list[dict[str, Any]]:
    """Return pip-audit's result for each of them: its `name`, `version` and `vulns`, or a `skip_reason`.

    Raises:
        NoData: pip-audit ended without a result; the error has the last line that it printed.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(requirements))
        file.flush()
        ran = subprocess.run(  # noqa: S603 - a tool of this environment
            [
                *(sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip", "--progress-spinner", "off"),
                *("--format", "json", "--desc", "off", "--timeout", "10", "--requirement", file.name),
            ],
            capture_output=True,
            text=True,
            check=False,
        )

    try:
        dependencies: list[dict[str, Any]] = json.loads(ran.stdout)["dependencies"]
    except ValueError as error:
        raise NoData(ran.stderr.strip().rpartition("\n")[2][:200]) from error

    return dependencies


def require_data() -> None:
    """Return if the reachable data includes a well-known vulnerability; raise NoData if it does not."""
    if not any(one.get("vulns") for one in audit([VULNERABLE])):
        raise NoData(f"{VULNERABLE} passes, although it is vulnerable")


def report(dependencies: list[dict[str, Any]]) -> tuple[list[str], bool]:
    """Return the lines to print, and whether they report a vulnerability."""
    found = [
        f"{one['name']} {one['version']}: {flaw['id']}, fixed in {', '.join(flaw['fix_versions']) or 'no version yet'}"
        for one in dependencies
        for flaw in one.get("vulns", [])
    ]
    skipped = [one["name"] for one in dependencies if "skip_reason" in one]
    lines = found or [f"No known vulnerability in {len(dependencies) - len(skipped)} packages."]

    if skipped:
        lines.append(f"There is no data about {', '.join(skipped)}.")

    return lines, bool(found)


def main(lock: Path) -> int:
    """Print what was found; return the exit code."""
    try:
        require_data()
        lines, vulnerable = report([one for each in locked(lock.read_text("utf-8")) for one in audit(each)])
    except NoData as error:
        lines, vulnerable = [f"{SKIPPED} ({error})"], False

    print("\n".join(lines))

    return int(vulnerable)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else LOCK))
