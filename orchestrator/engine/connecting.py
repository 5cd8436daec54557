"""Connecting to the engine that the settings name by URL.

A process either works (it runs workflows, so it listens for tasks) or only sends (a receiver that uses a remote
engine). The embedded engine lives in the process that opened it, and that process always works.
"""

from __future__ import annotations

import uuid
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
from resonate.connections import HttpConnection
from resonate.connections.sse import resolve_target as poll_address
from resonate.resonate import Resonate
from resonate.retry import Exponential
from resonate.timing import now_ms, sleep
from resonate.types import Value

from orchestrator.engine.client import Engine
from orchestrator.engine.embedded.connection import EmbeddedConnection
from orchestrator.engine.embedded.direct_send import send_directly
from orchestrator.engine.embedded.lease_keeper import LeaseKeeper
from orchestrator.engine.embedded.memory.lineages import origin_of
from orchestrator.engine.encryption.cipher import PayloadCipher
from orchestrator.engine.encryption.readable import is_readable
from orchestrator.engine.encryption.record_reader import TAMPERED, PayloadMarker
from orchestrator.engine.encryption.sealing import seal, unsealed
from orchestrator.engine.open_waits import SharedLook, waits_by_search
from orchestrator.engine.people import PeopleDigests
from orchestrator.engine.process_time import ProcessTime
from orchestrator.engine.remote.batching import BatchingNetwork
from orchestrator.engine.remote.outbox import Outbox
from orchestrator.engine.remote.postgres_search import PostgresSearch
from orchestrator.engine.remote.preloading import PreloadingNetwork
from orchestrator.engine.remote.retrying import RetryingNetwork
from orchestrator.engine.remote.server import ServerListener
from orchestrator.engine.remote.server_search import ServerSearch
from orchestrator.engine.remote.short_replies import ShortReplies
from orchestrator.engine.sdk_events import correct_lines, observe
from orchestrator.engine.workflow_cache import WorkflowCache
from orchestrator.errors import ConfigurationError, EngineInUse, JournalUnusable, StartRefused
from orchestrator.failures import forbid_pickles
from orchestrator.sdk_internals import permits_of
from orchestrator.stored_names import OPENING
from orchestrator.tracing import Tracing

if TYPE_CHECKING:
    from pathlib import Path

    from resonate.context import Context
    from resonate.timing import Clock, Sleeper
    from resonate_base.connections import Network

    from orchestrator.config.settings import Settings


#: How long a worker's lease on a task lasts without a heartbeat. After a `kill -9`, another worker takes the task over
#: when the lease has lapsed.
LEASE: Final = timedelta(seconds=20)

#: A function that a worker registers and that raises is tried again after 2, 4 ... 60 seconds, eight times. Steps of
#: workflows have a policy of their own.
STEP_RETRIES: Final = Exponential(delay=1, factor=2, max_delay=60, max_retries=8)

#: How many tasks one worker runs at once. On Postgres their requests share batches, which hold as many: with 8 tasks a
#: workflow took a third more of the processor until its end than with 32, and 64 were no better.
_TASKS: Final = {"embedded": 64, "memory": 64, "server": 64, "postgres": 32}


_PROCESS_TIME: Final = ProcessTime()


async def connect(settings: Settings, *, group: str | None = None, work: bool) -> Engine:
    """Return the engine that the settings name. An embedded engine's file is opened; nothing is started yet.

    `work` says whether this process will run workflows, namely those of `group`. An embedded engine can only be opened
    to work.

    Raises:
        StartRefused: this process cannot open the embedded engine, or libpq does not accept the address.
        ConfigurationError: the payload keys cannot read the workflows under way in an embedded engine.
    """
    address = settings.engine
    own_group = group if group is not None else settings.group
    seconds = settings.engine_timeout

    match address.kind:
        case "embedded" | "memory":
            if not work:
                raise StartRefused(
                    "an embedded engine runs its workers in the receiver: start only `python -m receiver`, no worker"
                )

            embedded = EmbeddedConnection(address.path)
            await _opened(embedded, address.path)

            return await embedded_engine(settings, embedded, cached=settings.cached_workflows)
        case "server":
            network = _network(settings, _server(settings), work=work)
            resonate = _over_server(settings, network, group=own_group, work=work)
            look = partial(waits_by_search, resonate.promises, OPENING)

            return Engine(
                resonate,
                embedded=address.embedded,
                seconds=seconds,
                address_of=poll_address,
                group=own_group,
                open_waits=SharedLook(look, seconds=seconds),
                search=ServerSearch(network, seconds=seconds),
                people=PeopleDigests(settings.payload_keys),
                unseal=partial(unsealed, resonate),
                tracing=Tracing.configured(wanted=settings.traces),
            )
        case "postgres":
            # Imported late: the driver is an extra, and costs a tenth of a second and 13 MB that no other engine needs.
            try:
                from orchestrator.engine.remote.postgres import AutocommitSessions, SchemaProbe  # noqa: PLC0415
            except ModuleNotFoundError as error:
                reason = "names a Postgres database, whose driver is an extra: pip install 'countersign[postgres]'"
                raise ConfigurationError("COUNTERSIGN_ENGINE", reason) from error

            sessions = AutocommitSessions(address.url, seconds=seconds)
            pid = uuid.uuid4().hex
            network = _network(settings, PreloadingNetwork(BatchingNetwork(sessions)), work=work)
            outbox = Outbox(sessions, network.send, group=own_group, pid=pid, work=work)
            resonate = _resonate(settings, network=network, sources=[outbox] if work else [], group=own_group, pid=pid)

            return Engine(
                resonate,
                embedded=address.embedded,
                seconds=seconds,
                address_of=poll_address,
                group=own_group,
                probe=SchemaProbe(sessions),
                open_waits=SharedLook(sessions.open_waits, seconds=seconds),
                search=PostgresSearch(sessions),
                people=PeopleDigests(settings.payload_keys),
                unseal=partial(unsealed, resonate),
                tracing=Tracing.configured(wanted=settings.traces),
                wait=outbox.wait_settled,
                close=outbox.stop,
            )


async def embedded_engine(  # noqa: PLR0913 - the connection, and seams with a default
    settings: Settings,
    embedded: EmbeddedConnection,
    *,
    clock: Clock = now_ms,
    sleeper: Sleeper = sleep,
    process_time: ProcessTime = _PROCESS_TIME,
    cached: int = 0,
) -> Engine:
    """Return the engine behind an open connection, with the clock and the sleeper that the connection uses.

    Up to `cached` workflows wait in memory.

    Raises:
        ConfigurationError: the payload keys cannot read the workflows under way; the connection is closed.
    """
    try:
        _require_readable(embedded, settings)
    except ConfigurationError:
        await embedded.stop()
        raise

    seconds = settings.engine_timeout
    resonate = _resonate(
        settings, embedded, network=embedded, heartbeat=LeaseKeeper(embedded), clock=clock, sleeper=sleeper
    )
    cache = None

    if cached:
        permits = permits_of(resonate)
        cache = WorkflowCache(embedded.waiters, limit=cached, permits=permits, process_time=process_time)
        embedded.watch_reloads(cache.drop_all)

    return Engine(
        resonate,
        embedded=True,
        seconds=seconds,
        address_of=embedded.resolve_target,
        ends_plain_promises=True,
        wait=embedded.wait_settled,
        close=embedded.stop,
        marks=embedded.marks(seconds=seconds),
        clock=lambda: clock() / 1000,
        process_time=process_time,
        cache=cache,
        held=embedded.held,
        watch_expired=embedded.watch_expired,
        open_waits=embedded.open_waits,
        search=embedded.search(seconds=seconds),
        people=PeopleDigests(settings.payload_keys),
        unseal=partial(unsealed, resonate),
        at_hand=embedded.at_hand,
        tracing=Tracing.configured(wanted=settings.traces),
    )


def _over_server(settings: Settings, network: Network, *, group: str, work: bool) -> Resonate:
    url, token, pid = settings.engine.url.text(), settings.resonate_token, uuid.uuid4().hex
    listener = ServerListener(url, group=group, pid=pid, token=token)

    return _resonate(settings, network=network, sources=[listener] if work else [], group=group, pid=pid)


def _server(settings: Settings) -> Network:
    token = settings.resonate_token

    return ShortReplies(HttpConnection(settings.engine.url.text(), auth=None if token is None else token.text()))


def _network(settings: Settings, inner: Network, *, work: bool) -> RetryingNetwork:
    return RetryingNetwork(inner, seconds=settings.engine_timeout, retry_seconds=_retry_seconds(work=work))


def _retry_seconds(*, work: bool) -> float:
    """Return for how many seconds a failed request is retried.

    A process that only sends does not retry: its client gets the error at once and can decide. A worker retries,
    because its steps under way would be lost; it stops before its lease lapses.
    """
    return LEASE.total_seconds() * 3 / 4 if work else 0


async def _opened(embedded: EmbeddedConnection, path: Path | None) -> None:
    try:
        await embedded.open()
    except (EngineInUse, JournalUnusable) as error:
        # The error's text begins with the path, which is the setting's value and must not be printed.
        reason = str(error).removeprefix(str(path))

        for name, shown in ((path, "it"), (path and path.parent, "its folder")):
            reason = reason.replace(str(name), shown)

        raise type(error)(f"COUNTERSIGN_ENGINE names a file that{reason}") from error


def _require_readable(embedded: EmbeddedConnection, settings: Settings) -> None:
    """Refuse to start when the payload keys cannot read a workflow under way: it would be stuck without any error."""
    cipher = PayloadCipher(settings.payload_keys) if settings.payload_keys else None

    for promise in embedded.state.promises.values():
        if promise.state == "pending" and promise.param is not None and origin_of(promise.id) == promise.id:
            param = msgspec.json.decode(promise.param, type=Value)

            if not is_readable(param, cipher):
                reason = f"cannot read {promise.id}, which is under way: was a key taken out, or encryption switched?"
                raise ConfigurationError("COUNTERSIGN_PAYLOAD_KEYS", reason)


def _resonate(settings: Settings, embedded: EmbeddedConnection | None = None, **connection: Any) -> Resonate:
    forbid_pickles()
    correct_lines()
    marker = PayloadMarker() if settings.payload_keys else None
    resonate = Resonate(
        **connection,
        encryptor=marker,
        ttl=LEASE,
        retry_policy=STEP_RETRIES,
        max_concurrent_tasks=_TASKS[settings.engine.kind],
        observer=observe,
        # Nobody keeps a handle for long, and asking again would end the promise of an `expiry_look`.
        subscription_refresh_secs=0,
        # The SDK must not read the environment: everything ambient comes from the settings.
        env={},
        autostart=False,
    )

    if embedded is not None:
        send_directly(resonate, embedded)

    if marker is not None:
        seal(resonate, PayloadCipher(settings.payload_keys), marker)

    resonate.register(_never_run, name=TAMPERED)

    return resonate


async def _never_run(_: Context) -> None:
    """Stand in for the function of a promise that was tampered with. Its task is closed without running."""
