"""The Postgres engine when the database is down, refuses, or is not what it should be."""

from __future__ import annotations

import asyncio
import contextlib
import re
import traceback
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest
from conftest import Start
from support.configuration import settings
from support.edge import edge
from support.engines import Database
from support.plant import pause

from orchestrator.config.secret import Secret
from orchestrator.engine import connect
from orchestrator.engine.remote import outbox
from orchestrator.engine.remote.postgres import AutocommitSessions, SchemaProbe
from orchestrator.errors import ConfigurationError, EngineUnavailable, SchemaMissing

PASSWORD = "pass-word-hunter2"
SSL_REQUEST = bytes.fromhex("0000000804d2162f")


@contextlib.asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Answer the first packet of every connection with these bytes; yield a URL and what was received."""
    received: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.read(1000))
        writer.write(answer)
        received.append(await reader.read(1000))
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"postgresql://joe:{PASSWORD}@127.0.0.1:{server.sockets[0].getsockname()[1]}/orders", received


def refusal(text: str) -> bytes:
    fields = b"SFATAL\0C28P01\0M" + text.encode() + b"\0\0"
    return b"E" + (len(fields) + 4).to_bytes(4) + fields


@contextlib.asynccontextmanager
async def outage(database: Database) -> AsyncIterator[None]:
    with contextlib.ExitStack() as stack:
        await asyncio.to_thread(stack.enter_context, database.outage())
        yield
        await asyncio.to_thread(stack.close)


async def test_a_wait_closes_at_its_deadline_despite_an_outage_of_the_database(
    tmp_path: Path, database: Database
) -> None:
    async with edge(tmp_path, database.fresh(), ENGINE_TIMEOUT="2") as one:
        await one.asked(deadline=3)

        async with outage(database):
            assert (await one.client.get("/readyz")).status_code == 503
            await pause(0.5)

        # On a busy machine the workers may need longer than one such request to reconnect to the database.
        ends = [await one.ended() for _ in range(3)]

        assert ends[-1]["result"]["kind"] == "expired"


async def test_the_holder_of_one_token_delays_nobody_else(tmp_path: Path, database: Database) -> None:
    async with edge(tmp_path, database.fresh(), ENGINE_TIMEOUT="60") as one:
        mine, theirs = await one.asked("1"), await one.asked("2")
        reads = [asyncio.create_task(one.client.get(f"/callbacks/{theirs}")) for _ in range(500)]
        posts = [asyncio.create_task(one.post(theirs, n, headers={"Idempotency-Key": str(n)})) for n in range(50)]
        probes = [asyncio.create_task(one.client.get("/readyz")) for _ in range(500)]
        await pause(0.05)
        genuine = await one.post(mine, "kept")

        assert genuine.json()["duplicate"] is False
        assert {answer.status_code for answer in await asyncio.gather(*reads, *probes)} == {200}
        assert sorted({answer.status_code for answer in await asyncio.gather(*posts)}) == [200, 409]


async def test_a_request_finds_the_database_again_as_soon_as_it_is_back(tmp_path: Path, database: Database) -> None:
    async with edge(tmp_path, database.fresh(), ENGINE_TIMEOUT="2") as one:
        token = await one.asked()

        async with outage(database):
            assert (await one.post(token, "lost")).status_code == 503

        statuses = [(await one.post(token, "kept")).status_code for _ in range(15)]

        assert set(statuses) <= {200, 503}
        assert statuses[-1] == 200
        assert (await one.ended())["result"]["value"] == "kept"


async def test_a_user_who_may_not_drive_timers_leaves_them_to_the_database(
    tmp_path: Path, database: Database, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "_TICK", 0.01)
    url = database.fresh()

    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute("CREATE ROLE modest LOGIN IN ROLE resonate_worker")

    try:
        log = start("info")
        engine = await connect(settings(tmp_path, re.sub("//postgres(:[^@]*)?@", "//modest@", url)), work=True)
        engine.start()

        async with asyncio.timeout(60):
            while "pg_cron" not in log.getvalue():
                await pause(0.02)

        await engine.check()
        await pause(0.1)
        await engine.stop()
        assert log.getvalue().count("pg_cron") == 1
    finally:
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute("DROP ROLE modest")


async def test_the_error_about_a_missing_schema_has_the_command_that_installs_it(database: Database) -> None:
    sessions = AutocommitSessions(Secret(database.fresh(template="template0")), seconds=5)

    with pytest.raises(SchemaMissing, match=r'psql "\$COUNTERSIGN_ENGINE" .*-f resonate\.sql'):
        await SchemaProbe(sessions)()


async def test_no_error_and_no_log_line_holds_the_password_even_if_the_server_quotes_it(start: Start) -> None:
    log = start("debug")

    async with answering(refusal(f"no entry for joe with {PASSWORD}")) as (url, _):
        sessions = AutocommitSessions(Secret(f"{url}?sslmode=disable"), seconds=0.2)

        with pytest.raises(EngineUnavailable) as caught:
            await SchemaProbe(sessions)()

        with pytest.raises(psycopg.Error) as pooled:
            async with sessions.session():
                pass

        await sessions.close()

    assert "no entry for joe with [redacted]" in caught.value.detail
    assert "error connecting in" in log.getvalue()
    assert PASSWORD not in f"{caught.value} {caught.value.detail} {pooled.value} {log.getvalue()}"


async def test_a_value_that_libpq_does_not_accept_is_not_quoted(start: Start) -> None:
    log = start("debug")
    sessions = AutocommitSessions(Secret(f"postgresql://joe@127.0.0.1:9/x?connect_timeout={PASSWORD}"), seconds=0.2)

    with pytest.raises(EngineUnavailable) as caught:
        await SchemaProbe(sessions)()

    with pytest.raises(psycopg.Error) as pooled:
        async with sessions.session():
            pass

    await sessions.close()

    assert "COUNTERSIGN_ENGINE has an option" in caught.value.detail
    assert PASSWORD not in f"{caught.value} {caught.value.detail} {pooled.value} {log.getvalue()}"


async def test_a_server_without_tls_gets_no_request_if_tls_is_required() -> None:
    async with answering(b"N") as (url, received):
        sessions = AutocommitSessions(Secret(f"{url}?sslmode=require"), seconds=1)

        with pytest.raises(EngineUnavailable) as caught:
            await SchemaProbe(sessions)()

    assert "SSL" in caught.value.detail
    assert b"".join(received) == SSL_REQUEST


@pytest.mark.parametrize("rest", ["@db/orders?nonsense=1", "@db/orders?sslmode", "%zz@db/orders"])
def test_an_address_that_libpq_does_not_accept_is_refused_without_its_value(rest: str) -> None:
    with pytest.raises(ConfigurationError, match="COUNTERSIGN_ENGINE") as refused:
        AutocommitSessions(Secret(f"postgresql://joe:{PASSWORD}{rest}"), seconds=1)

    assert PASSWORD not in "".join(traceback.format_exception(refused.value))


def test_options_in_the_address_override_our_defaults() -> None:
    sessions = AutocommitSessions(Secret("postgresql://db/orders?connect_timeout=77&sslmode=verify-full"), seconds=1)

    assert "connect_timeout=77" in sessions._conninfo
    assert "sslmode=verify-full" in sessions._conninfo
    assert "application_name=countersign" in sessions._conninfo
