"""A Postgres database that holds the resonate-pg schema: the statements that we send to it, and what their errors mean.

The protocol is stored procedures, so a statement in autocommit mode is a whole transaction in one round trip. Nothing
here changes the schema.

Long because only this file knows the driver and its errors.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any, Final, LiteralString, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool, PoolClosed
from resonate_base import ConnectorError
from resonate_pg.wire import execute_message, outbox_channel, unblock_message

from orchestrator.engine.open_waits import OpenWaits
from orchestrator.engine.remote.batching import BatchRefused
from orchestrator.errors import ConfigurationError, EngineUnavailable, SchemaMissing
from orchestrator.stored_names import CALLBACK_TAG

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from orchestrator.config.secret import Secret

#: How many connections one process opens, besides the one that listens: two for batches, one each for messages and
#: timers, the others for checks. A session plans every query of the schema anew, so fewer are also faster.
_POOL_SIZE: Final = 6

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

#: Settings of our sessions. All queries of the schema are lookups by key, but the planner joins two of them with all
#: promises: suspending always, settling until the tables have statistics. With 500 open waits they took 1.27, 0.82 ms
#: of the database instead of 0.40, 0.25 ms, and each open wait added to it.
_SETTINGS: Final = {
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_material": "off",
    "jit": "off",
}

_SET: Final = "SELECT set_config(name, value, false) FROM jsonb_each_text(%s::jsonb) AS settings (name, value)"
_ASK: Final = "SELECT resonate.resonate_rpc(request)::text FROM jsonb_array_elements(%s::text::jsonb) AS request"
_CLAIM: Final = """
SELECT task_id, version, NULL FROM unnest(%s::text[]) AS address, resonate.dequeue_execute(address, %s)
UNION ALL SELECT NULL, NULL, promise::text FROM resonate.dequeue_unblock(%s, %s)
"""

#: How many messages of one kind one statement claims.
_CLAIMED: Final = 100

#: What the database says when a session is over: the connection failed, or somebody ended the session or the server.
_LOST: Final = ("08", "57P")

#: The order makes the database read no more than it counts, by the index of pending promises.
_WAITS: Final = """
SELECT count(*), count(*) FILTER (WHERE tags ? %(tag)s), min(created_at) FILTER (WHERE tags ? %(tag)s)
FROM (SELECT tags, created_at FROM resonate.promises WHERE state = 'pending' ORDER BY timeout_at LIMIT %(most)s) AS p
"""

#: How many pending promises one look for open waits reads at most.
_MOST_PENDING: Final = 20_000

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
    """Our sessions with the database, from one pool in autocommit mode.

    Unless it says otherwise, a method raises ConnectorError if the session was lost or none was free in time. It is
    then unknown whether its statement was carried out.
    """

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
        self._closed = False

    async def ask(self, requests: Sequence[str]) -> Sequence[str]:
        """Return the replies to these requests, once all of them are permanent. They share one transaction.

        Raises:
            BatchRefused: the database refused the statement, so none of them was carried out.
            ConnectorError: it is unknown whether they were carried out.
        """
        try:
            rows = await self._rows(_ASK, (f"[{','.join(requests)}]",))
        except _Refused as error:
            raise BatchRefused from error

        return [text for (text,) in rows]

    async def claim(self, address: str, *, group: Sequence[str]) -> AsyncIterator[str]:
        """Yield the messages to this address, and those to the group's addresses. Nobody gets them a second time.

        What is lost with this process is sent again: a task is due again after five seconds.
        """
        more = True

        while more:
            try:
                rows = await self._rows(_CLAIM, (list(group), _CLAIMED, address, _CLAIMED))
            except _Refused as error:
                raise ConnectorError(error) from error

            for task_id, version, promise in rows:
                yield execute_message(task_id, version) if promise is None else unblock_message(promise)

            more = len(rows) >= _CLAIMED

    async def news(self, *addresses: str) -> AsyncIterator[None]:
        """Yield once the database will tell of every message to these addresses, and then whenever it does."""
        try:
            async with await _MaskedConnection.connect(self._conninfo, autocommit=True) as connection:
                for address in addresses:
                    await connection.execute(f'LISTEN "{outbox_channel(address)}"')

                yield

                async for _ in connection.notifies():
                    yield

        except psycopg.Error as error:
            raise ConnectorError(error) from error

    async def fire_timers(self) -> bool:
        """Do what is due in the database; return whether this user may."""
        try:
            await self._rows("SELECT resonate.process_timeouts()")
        except _Refused as error:
            if isinstance(error.__cause__, psycopg.errors.InsufficientPrivilege):
                return False

            raise ConnectorError(error) from error

        return True

    async def open_waits(self) -> OpenWaits | None:
        """Return the open waits; None if there are too many pending promises to look through.

        Raises:
            ConnectorError: this user may not read the table, or the database did not answer.
        """
        parameters = {"tag": CALLBACK_TAG, "most": _MOST_PENDING}
        ((read, count, oldest),) = await self.look(_WAITS, parameters)

        return None if read == _MOST_PENDING else OpenWaits(count=count, oldest_at=oldest)

    async def look(self, query: LiteralString, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Return the rows of a query that changes nothing.

        Raises:
            ConnectorError: the database refused it, or did not answer.
        """
        try:
            return await self._rows(query, parameters or {})
        except _Refused as error:
            raise ConnectorError(error) from error

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[psycopg.AsyncConnection]:
        """Lend a session. Errors are libpq's."""
        pool = await self._opened()

        async with pool.connection() as connection:
            yield connection

    async def dedicated(self) -> psycopg.AsyncConnection:
        """Open a session that the caller owns. Errors are libpq's."""
        return await _MaskedConnection.connect(self._conninfo, autocommit=True)

    async def close(self) -> None:
        """Close the pool, for good."""
        self._closed = True
        pool, self._pool = self._pool, None

        if pool is not None:
            await pool.close()

    async def _rows(
        self, query: LiteralString, parameters: Sequence[Any] | Mapping[str, Any] = ()
    ) -> list[tuple[Any, ...]]:
        try:
            async with asyncio.timeout(self._seconds), self.session() as connection:
                return await (await connection.execute(query, parameters)).fetchall()

        except TimeoutError as error:
            raise ConnectorError(error) from error
        except psycopg.Error as error:
            if _is_refusal(error):
                raise _Refused(str(error)) from error

            raise ConnectorError(error) from error

    async def _opened(self) -> AsyncConnectionPool[_MaskedConnection]:
        async with self._opening:
            if self._closed:
                raise PoolClosed("the connections were closed")

            if self._pool is None:
                pool = AsyncConnectionPool(
                    self._conninfo,
                    connection_class=_MaskedConnection,
                    kwargs={"autocommit": True},
                    configure=_configure,
                    min_size=1,
                    max_size=_POOL_SIZE,
                    timeout=self._seconds,
                    reconnect_timeout=self._seconds,
                    open=False,
                )
                await pool.open()
                self._pool = pool

            return self._pool


class _Refused(Exception):
    """The database refused a statement and is still there."""


def _is_refusal(error: psycopg.Error) -> bool:
    """Return whether the error says that the statement was not carried out, and not that the session was lost."""
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return error.sqlstate is not None and not error.sqlstate.startswith(_LOST)

    return True


async def _configure(connection: psycopg.AsyncConnection) -> None:
    await connection.execute(_SET, (json.dumps(_SETTINGS),))


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


async def _has_schema(connection: psycopg.AsyncConnection) -> bool:
    row = await (await connection.execute(_SCHEMA_QUERY)).fetchone()

    return row is not None and bool(row[0])
