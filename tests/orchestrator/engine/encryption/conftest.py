"""A store for each test, and an attacker who can write to it but has no key."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from support.engines import Database
from support.tampering import Mallory


@pytest.fixture
def url(database: Database) -> str:
    return database.fresh()


@pytest.fixture
def mallory(url: str) -> Iterator[Mallory]:
    with psycopg.connect(url, autocommit=True) as admin:
        if not admin.execute("SELECT 1 FROM pg_roles WHERE rolname = 'mallory'").fetchone():
            admin.execute("CREATE ROLE mallory LOGIN")

        admin.execute("GRANT USAGE ON SCHEMA resonate TO mallory")
        admin.execute("GRANT ALL ON ALL TABLES IN SCHEMA resonate TO mallory")
        admin.execute("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA resonate TO mallory")

    one = Mallory(url)
    yield one
    one._connection.close()
