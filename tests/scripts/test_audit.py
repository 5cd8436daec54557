"""The audit of the lock file: it finds a known vulnerability, and says so when it is skipped for lack of data."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import audit
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

#: They start programs.
pytestmark = pytest.mark.slow

PROGRAM = Path(audit.__file__)
LOCK = """
version = 1

[[package]]
name = "countersign"
source = { virtual = "." }

[[package]]
name = "good"
version = "1.0"
source = { registry = "https://index.example/simple" }

[[package]]
name = "bad"
version = "1.0"
source = { registry = "https://index.example/simple" }

[[package]]
name = "bad"
version = "2.0"
source = { registry = "https://index.example/simple" }
"""


class Feed(ThreadingHTTPServer):
    """A vulnerability feed on loopback that speaks the protocol of OSV."""

    def __init__(self, *vulnerable: str) -> None:
        super().__init__(("127.0.0.1", 0), Query)
        self.vulnerable = vulnerable
        self.answer: tuple[int, bytes] | None = None
        self.asked: list[str] = []


class Query(BaseHTTPRequestHandler):
    """One query about one version of one package."""

    server: Feed

    def do_POST(self) -> None:
        query = json.loads(self.rfile.read(int(self.headers["content-length"])))
        name = query["package"]["name"]
        version = f"{name}=={query['version']}"
        self.server.asked.append(version)
        ranges = [{"type": "ECOSYSTEM", "events": [{"fixed": "9"}]}]
        affected = {"package": {"name": name, "ecosystem": "PyPI"}, "ranges": ranges}
        flaws = {"vulns": [{"id": "OSV-1", "affected": [affected]}]} if version in self.server.vulnerable else {}
        status, body = self.server.answer or (200, json.dumps(flaws).encode())
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def feed() -> Iterator[Feed]:
    with Feed(audit.VULNERABLE, "bad==1.0") as one:
        serving = threading.Thread(target=one.serve_forever, args=(0.01,))
        serving.start()
        yield one
        one.shutdown()
        serving.join()


def audited(folder: Path, lock: str, url: str) -> subprocess.CompletedProcess[str]:
    file = folder / "uv.lock"
    file.write_text(lock)

    return subprocess.run(
        [sys.executable, PROGRAM, file],
        env={"PIP_AUDIT_VULNERABILITY_SERVICE": "osv", "PIP_AUDIT_OSV_URL": url, "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def url_of(feed: Feed) -> str:
    return f"http://127.0.0.1:{feed.server_address[1]}"


def test_a_known_vulnerability_fails_the_audit_and_is_named(tmp_path: Path, feed: Feed) -> None:
    ran = audited(tmp_path, LOCK, url_of(feed))

    assert (ran.returncode, ran.stderr) == (1, "")
    assert ran.stdout == "bad 1.0: OSV-1, fixed in 9\n"


def test_every_version_that_comes_from_an_index_is_asked_about(tmp_path: Path, feed: Feed) -> None:
    feed.vulnerable = (audit.VULNERABLE,)
    ran = audited(tmp_path, LOCK, url_of(feed))

    assert (ran.returncode, ran.stdout) == (0, "No known vulnerability in 3 packages.\n")
    assert sorted(feed.asked[1:]) == ["bad==1.0", "bad==2.0", "good==1.0"]  # a name twice, for different Pythons


@pytest.mark.parametrize("answer", [(404, b""), (500, b"oops"), (200, b"<html>"), (200, b"{}")])
def test_without_vulnerability_data_the_audit_is_skipped_and_says_so(
    tmp_path: Path, feed: Feed, answer: tuple[int, bytes]
) -> None:
    feed.answer = answer
    ran = audited(tmp_path, LOCK, url_of(feed))

    assert (ran.returncode, ran.stderr) == (0, "")
    assert len(ran.stdout.splitlines()) == 1
    assert ran.stdout.startswith(audit.SKIPPED)
    # After the first failure the remaining packages are not looked up.
    assert feed.asked == [audit.VULNERABLE]


def test_an_unreachable_feed_skips_the_audit(tmp_path: Path) -> None:
    ran = audited(tmp_path, LOCK, "http://127.0.0.1:9")

    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith(audit.SKIPPED)


def test_packages_that_the_feed_does_not_know_are_named() -> None:
    known = {"name": "a", "version": "1", "vulns": []}

    assert audit.report([known, {"name": "b", "skip_reason": "not found"}]) == (
        ["No known vulnerability in 1 packages.", "There is no data about b."],
        False,
    )


def test_the_lock_file_of_this_repository_is_read() -> None:
    requirements = [one for each in audit.locked(audit.LOCK.read_text("utf-8")) for one in each]

    assert any(one.startswith("starlette==") for one in requirements)
    assert not any(one.startswith("countersign==") for one in requirements)


def test_a_real_vulnerability_is_found_in_a_doctored_lock_file_if_the_data_can_be_reached(tmp_path: Path) -> None:
    doctored = LOCK.replace('"bad"\nversion = "1.0"', '"jinja2"\nversion = "2.11.2"')
    file = tmp_path / "uv.lock"
    file.write_text(doctored)
    ran = subprocess.run([sys.executable, PROGRAM, file], capture_output=True, text=True, check=False)

    if ran.stdout.startswith(audit.SKIPPED):
        pytest.skip("vulnerability data cannot be reached from here")

    assert ran.returncode == 1
    assert "jinja2 2.11.2: " in ran.stdout
