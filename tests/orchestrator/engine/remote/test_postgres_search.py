"""What the lists need of a Postgres database: our SQL changes nothing of resonate-pg, is used, and may be missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from support.engines import Database

from orchestrator.config.secret import Secret
from orchestrator.engine.remote.postgres import AutocommitSessions
from orchestrator.engine.remote.postgres_search import PostgresSearch, lists_sql
from orchestrator.engine.search import RootSearch, WaitSearch
from orchestrator.errors import EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Everything that a schema consists of, as the database describes it.
_OBJECTS = """
SELECT 'function', pg_get_functiondef(p.oid), p.proacl::text FROM pg_proc p
  WHERE pronamespace = 'resonate'::regnamespace
UNION ALL SELECT 'column', attrelid::regclass || attname || atttypid::regtype || attnum, NULL FROM pg_attribute
  JOIN pg_class c ON c.oid = attrelid WHERE relnamespace = 'resonate'::regnamespace AND relkind = 'r'
UNION ALL SELECT 'table', c.relname || c.relhastriggers, c.relacl::text FROM pg_class c
  WHERE relnamespace = 'resonate'::regnamespace AND relkind = 'r'
UNION ALL SELECT 'trigger', tgname, tgrelid::regclass::text FROM pg_trigger
UNION ALL SELECT 'constraint', conname, pg_get_constraintdef(oid) FROM pg_constraint
UNION ALL SELECT 'index', c.relname, NULL FROM pg_class c
  WHERE relnamespace = 'resonate'::regnamespace AND relkind = 'i' AND relname NOT LIKE 'countersign%'
"""


@pytest.fixture
def url(database: Database) -> Iterator[str]:
    yield (url := database.fresh())
    database.drop(url)


async def search(url: str) -> tuple[Any, Any]:
    """Return what is found of workflows and of waits."""
    sessions = AutocommitSessions(Secret(url.encode()), seconds=30)

    try:
        searching = PostgresSearch(sessions)
        return await searching.roots(RootSearch(limit=1)), await searching.waits(WaitSearch(limit=1))
    finally:
        await sessions.close()


def described(url: str) -> set[Any]:
    with psycopg.connect(url) as connection:
        return set(connection.execute(_OBJECTS).fetchall())


def as_role(url: str, name: str) -> str:
    """Return the URL for a role that may log in and is a worker of resonate-pg."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"DROP ROLE IF EXISTS {name}")
        connection.execute(f"CREATE ROLE {name} LOGIN IN ROLE resonate_worker")

    head, _, rest = url.partition("://")
    place = rest.partition("@")[2] if "@" in rest.partition("/")[0] else rest

    return f"{head}://{name}@{place}"


@pytest.mark.slow
async def test_our_sql_changes_nothing_of_resonate_pg_and_may_be_repeated(url: str) -> None:
    before = described(url)
    Database.apply(url, lists_sql())
    Database.apply(url, lists_sql())

    assert described(url) == before


@pytest.mark.slow
async def test_without_our_indexes_the_answer_says_that_lists_are_slow(url: str) -> None:
    roots, waits = await search(url)
    assert "doctor --sql" in roots.caveats[0]
    assert waits.caveats == roots.caveats

    Database.apply(url, lists_sql())
    roots, waits = await search(url)
    assert (roots.caveats, waits.caveats) == ((), ())


@pytest.mark.slow
async def test_a_worker_may_list_where_our_sql_was_applied_and_is_told_so_elsewhere(url: str) -> None:
    worker = as_role(url, "lister")

    with pytest.raises(EngineUnavailable, match="doctor --sql"):
        await search(worker)

    Database.apply(url, lists_sql())
    roots, _ = await search(worker)
    assert (list(roots.records), roots.caveats) == ([], ())


@pytest.mark.slow
async def test_an_index_that_was_not_finished_is_not_relied_on(url: str) -> None:
    Database.apply(url, lists_sql())

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'resonate.countersign_waits'::regclass"
        )

    roots, _ = await search(url)
    assert roots.caveats


@pytest.mark.slow
async def test_a_page_out_of_many_reads_few_rows(url: str) -> None:
    Database.apply(url, lists_sql())

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("""
        INSERT INTO resonate.promises (id, state, tags, timeout_at, created_at, settled_at)
        SELECT 'ask.' || i, 'resolved', '{"countersign:nonce": "x"}', 9, i, i FROM generate_series(1, 20000) AS i""")
        connection.execute("ANALYZE resonate.promises")
        connection.execute("SET enable_hashjoin = off; SET enable_mergejoin = off")
        connection.execute("SELECT count(*) FROM countersign.find_workflows(NULL, '{ended}', 0, 10000, '', 51)")
        connection.execute("SELECT pg_stat_force_next_flush()")
        before = _blocks(connection)
        found = connection.execute(
            "SELECT created_at FROM countersign.find_workflows(NULL, '{ended}', 0, 10000, '', 51)"
        ).fetchall()
        connection.execute("SELECT pg_stat_force_next_flush()")
        read = _blocks(connection) - before

    assert [at for (at,) in found] == list(range(9999, 9948, -1))
    # The table alone has several hundred.
    assert read < 300


def _blocks(connection: psycopg.Connection[Any]) -> int:
    """Return how many blocks of the table and its indexes were read so far, from memory or from disk."""
    ((blocks,),) = connection.execute("""
    SELECT heap_blks_hit + heap_blks_read + idx_blks_hit + idx_blks_read FROM pg_statio_user_tables
    WHERE relid = 'resonate.promises'::regclass""").fetchall()

    return int(blocks)
