"""Resonate on a Postgres database that holds the resonate-pg schema.

The connector's own session pool runs every request in a transaction of three round trips. A request is one stored
procedure, so a pool in autocommit mode does the same in one.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, cast

import psycopg
from psycopg_pool import AsyncConnectionPool
from resonate_pg import PostgresConnection

from orchestrator.errors import EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from resonate_pg.client import PgConn

__all__ = ["AutocommitSessions", "PostgresConnection", "check_schema"]

#: Connections of one process. A request holds one for about a millisecond, and eight running tasks plus the pump need
#: no more; Postgres' own `max_connections` is the scarcer thing.
_POOL_SIZE = 12

SCHEMA_MISSING = "the database holds no resonate-pg schema; install it with: psql -d DATABASE -f resonate.sql"


class AutocommitSessions:
    """Sessions for the connector, from one pool in autocommit mode."""

    def __init__(self, conninfo: str, *, seconds: float) -> None:
        self._conninfo = conninfo
        self._seconds = seconds
        self._pool: AsyncConnectionPool | None = None
        self._opening = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[PgConn]:
        """Lend a session for one request."""
        pool = await self._opened()

        async with pool.connection() as connection:
            yield cast("PgConn", connection)

    async def dedicated(self) -> PgConn:
        """Open a session that the caller owns, for LISTEN."""
        connection = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)

        return cast("PgConn", connection)

    async def close(self) -> None:
        """Close the pool."""
        pool, self._pool = self._pool, None

        if pool is not None:
            await pool.close()

    async def _opened(self) -> AsyncConnectionPool:
        async with self._opening:
            if self._pool is None:
                pool = AsyncConnectionPool(
                    self._conninfo,
                    kwargs={"autocommit": True},
                    min_size=1,
                    max_size=_POOL_SIZE,
                    timeout=self._seconds,
                    reconnect_timeout=self._seconds,
                    open=False,
                )
                await pool.open()
                self._pool = pool

            return self._pool


async def check_schema(sessions: AutocommitSessions) -> None:
    """Return when the database answers and holds the schema.

    Raises:
        EngineUnavailable: with what is missing.
    """
    try:
        async with sessions.session() as connection:
            cursor = await connection.execute("SELECT to_regprocedure('resonate.resonate_rpc(jsonb)') IS NOT NULL")
            row = await cursor.fetchone()
    except psycopg.Error as error:
        msg = f"the database could not be asked ({type(error).__name__})"
        raise EngineUnavailable(msg) from error

    if not row[0]:
        raise EngineUnavailable(SCHEMA_MISSING)
