"""Resonate on a Postgres database that holds the resonate-pg schema.

The connector's own session pool runs every request in a transaction, which takes three round trips. A request is one
stored procedure, so a pool in autocommit mode does the same in one round trip.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, Final, Self, cast

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool
from resonate_pg import PostgresConnection

from orchestrator.errors import ConfigurationError, EngineUnavailable, SchemaMissing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from resonate_pg.client import PgConn

    from orchestrator.config.secret import Secret

logger = logging.getLogger(__name__)

#: How many connections one process opens. A request holds one for about a millisecond, so eight running tasks and the
#: pump need no more. Postgres' own `max_connections` is the scarcer resource.
_POOL_SIZE: Final = 12

#: libpq's options, unless the address sets them. They detect a host that vanished silently within half a minute instead
#: of hours, and let an operator find our sessions in pg_stat_activity by name.
_DEFAULTS: Final = {
    "application_name": "countersign",
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",
}

#: Seconds between two checks for due sleeps, deadlines and leases; the connector's own interval.
_TICK: Final = 0.25

_SCHEMA_QUERY: Final = "SELECT to_regprocedure('resonate.resonate_rpc(jsonb)') IS NOT NULL"


class _MaskedConnection(psycopg.AsyncConnection):
    """A connection whose errors on connecting never contain the password, also in the pool's own log."""

    @classmethod
    async def connect(cls, conninfo: str = "", **options: Any) -> Self:
        """Return a connection, or raise libpq's error with its message on one line."""
        try:
            return await super().connect(conninfo, **options)
        except psycopg.ProgrammingError as error:
            # libpq raises this before it sends anything, and quotes the address, where a secret may be misplaced.
            raise type(error)("COUNTERSIGN_ENGINE has an option with a value that libpq does not accept") from None
        except psycopg.Error as error:
            text = " ".join(str(error).split()) or type(error).__name__
            password = conninfo_to_dict(conninfo).get("password")

            raise type(error)(text.replace(str(password), "[redacted]") if password else text) from None


class AutocommitSessions:
    """Sessions for the connector, from one pool in autocommit mode."""

    def __init__(self, url: Secret, *, seconds: float) -> None:
        try:
            given = conninfo_to_dict(url.text())
        except psycopg.Error:
            # The error's message quotes the address.
            raise ConfigurationError(
                "COUNTERSIGN_ENGINE", "has an option that libpq does not know, or a value that it does not accept"
            ) from None

        defaults = {name: value for name, value in _DEFAULTS.items() if name not in given}
        self._conninfo = make_conninfo(url.text(), **defaults)
        self._seconds = seconds
        self._pool: AsyncConnectionPool[_MaskedConnection] | None = None
        self._opening = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[PgConn]:
        """Lend a session for one request."""
        pool = await self._opened()

        async with pool.connection() as connection:
            yield cast("PgConn", connection)

    async def dedicated(self) -> PgConn:
        """Open a session that the caller owns, for LISTEN."""
        connection = await _MaskedConnection.connect(self._conninfo, autocommit=True)

        return cast("PgConn", connection)

    async def close(self) -> None:
        """Close the pool."""
        pool, self._pool = self._pool, None

        if pool is not None:
            await pool.close()

    async def _opened(self) -> AsyncConnectionPool[_MaskedConnection]:
        async with self._opening:
            if self._pool is None:
                pool = AsyncConnectionPool(
                    self._conninfo,
                    connection_class=_MaskedConnection,
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


class TimedConnection(PostgresConnection):
    """The connector, with timers that survive an outage of the database.

    The connector stops its timers permanently at the first error. After a restart of Postgres no sleep, no deadline and
    no lease of a dead worker would ever end. Here the timers stop only if the database denies permission to drive them:
    pg_cron drives them then, as resonate-pg sets it up.
    """

    def __init__(self, sessions: AutocommitSessions, *, group: str, pid: str, work: bool) -> None:
        super().__init__(pid=pid, group=group, sessions=sessions, drive_timers=False)
        self._own_sessions = sessions
        self._work = work
        self._timers: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start taking tasks and driving timers. A send-only process does neither."""
        await super().start()

        if self._work and self._timers is None:
            self._timers = asyncio.create_task(self._drive())

    async def stop(self) -> None:
        """Stop both, and close the sessions."""
        if self._timers is not None:
            self._timers.cancel()

            with contextlib.suppress(asyncio.CancelledError):
                await self._timers

        await super().stop()

    async def _drive(self) -> None:
        while True:
            try:
                async with self._own_sessions.session() as connection:
                    await connection.execute("SELECT resonate.process_timeouts()")
            except psycopg.errors.InsufficientPrivilege:
                logger.info("this user may not run resonate.process_timeouts(): timers are left to pg_cron")
                return
            except psycopg.Error as error:
                # Only at debug level: the connector's pump logs the same outage in more detail.
                logger.debug("timers are late: %s", error)

            await asyncio.sleep(_TICK)


class SchemaProbe:
    """Checks that the database replies and has the schema.

    Until the first success it uses a connection of its own, which fails at once and with a reason. A pool would keep
    trying.
    """

    def __init__(self, sessions: AutocommitSessions) -> None:
        self._sessions = sessions
        self._seen = False

    async def __call__(self) -> None:
        """Return if the database is ready.

        Raises:
            SchemaMissing: the schema is not installed; the message has the command that installs it.
            EngineUnavailable: the database cannot be reached or queried; `detail` says why.
        """
        try:
            has_schema = await (self._by_pool() if self._seen else self._by_own_connection())
        except psycopg.Error as error:
            raise EngineUnavailable(
                f"the database could not be queried ({type(error).__name__})", detail=str(error)
            ) from error

        if not has_schema:
            raise SchemaMissing(
                "COUNTERSIGN_ENGINE names a database without the resonate-pg schema; install it, as a user who may "
                'create roles, with: psql "$COUNTERSIGN_ENGINE" -v ON_ERROR_STOP=1 -f resonate.sql'
            )

        self._seen = True

    async def _by_pool(self) -> bool:
        async with self._sessions.session() as connection:
            return await _has_schema(connection)

    async def _by_own_connection(self) -> bool:
        connection = await self._sessions.dedicated()

        try:
            return await _has_schema(connection)
        finally:
            await connection.close()


async def _has_schema(connection: PgConn) -> bool:
    row = await (await connection.execute(_SCHEMA_QUERY)).fetchone()

    return bool(row[0])
