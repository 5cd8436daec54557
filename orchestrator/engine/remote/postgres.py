"""Resonate on a Postgres database that holds the resonate-pg schema.

The connector's own session pool runs every request in a transaction of three round trips. A request is one stored
procedure, so a pool in autocommit mode does the same in one.
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

#: Connections of one process. A request holds one for about a millisecond, and eight running tasks plus the pump need
#: no more; Postgres' own `max_connections` is the scarcer thing.
_POOL_SIZE: Final = 12

#: What libpq is told unless the address says otherwise. A host that vanished without a word is noticed within half a
#: minute instead of hours, and an operator finds our sessions in pg_stat_activity by their name.
_DEFAULTS: Final = {
    "application_name": "countersign",
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",
}

#: Seconds between two looks at what is due: sleeps, deadlines, leases. The connector's own rhythm.
_TICK: Final = 0.25

_HELD: Final = "SELECT to_regprocedure('resonate.resonate_rpc(jsonb)') IS NOT NULL"


class _MaskedConnection(psycopg.AsyncConnection):
    """A connection whose failure to connect is told without the password, to the pool's own log as well."""

    @classmethod
    async def connect(cls, conninfo: str = "", **options: Any) -> Self:
        """Return a connection, or raise what libpq said in one line."""
        try:
            return await super().connect(conninfo, **options)
        except psycopg.ProgrammingError as error:
            # Said before anything was sent, and quoting what the address says: a secret, where one was misplaced.
            raise type(error)("COUNTERSIGN_ENGINE has an option with a value that libpq does not take") from None
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
            # What it says quotes the address.
            raise ConfigurationError("COUNTERSIGN_ENGINE", "holds what libpq does not know or take") from None

        unsaid = {name: value for name, value in _DEFAULTS.items() if name not in given}
        self._conninfo = make_conninfo(url.text(), **unsaid)
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
    """The connector, with timers that outlive an absence of the database.

    The connector gives up its timers for good at the first error, so that after a restart of Postgres no sleep, no
    deadline and no lease of a dead worker would ever be over. Here only a database that does not let us is left alone:
    pg_cron then drives them, as resonate-pg arranges it.
    """

    def __init__(self, sessions: AutocommitSessions, *, group: str, pid: str, work: bool) -> None:
        super().__init__(pid=pid, group=group, sessions=sessions, drive_timers=False)
        self._own_sessions = sessions
        self._work = work
        self._timers: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to take tasks and to drive timers; a send-only process does neither."""
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
                # The connector's pump says so as well, and more.
                logger.debug("timers are late: %s", error)

            await asyncio.sleep(_TICK)


class SchemaProbe:
    """Tells whether the database answers and holds the schema.

    Until it was seen to, by a connection of its own: that fails at once and with a reason, where a pool goes on trying.
    """

    def __init__(self, sessions: AutocommitSessions) -> None:
        self._sessions = sessions
        self._seen = False

    async def __call__(self) -> None:
        """Return when all is well.

        Raises:
            SchemaMissing: with the command that installs it.
            EngineUnavailable: the database cannot be reached or asked; `detail` says why.
        """
        try:
            held = await (self._by_pool() if self._seen else self._by_hand())
        except psycopg.Error as error:
            raise EngineUnavailable(
                f"the database could not be asked ({type(error).__name__})", detail=str(error)
            ) from error

        if not held:
            raise SchemaMissing(
                "COUNTERSIGN_ENGINE names a database without the resonate-pg schema; install it, as a user who may "
                'create roles, with: psql "$COUNTERSIGN_ENGINE" -v ON_ERROR_STOP=1 -f resonate.sql'
            )

        self._seen = True

    async def _by_pool(self) -> bool:
        async with self._sessions.session() as connection:
            return await _holds_schema(connection)

    async def _by_hand(self) -> bool:
        connection = await self._sessions.dedicated()

        try:
            return await _holds_schema(connection)
        finally:
            await connection.close()


async def _holds_schema(connection: PgConn) -> bool:
    row = await (await connection.execute(_HELD)).fetchone()

    return bool(row[0])
