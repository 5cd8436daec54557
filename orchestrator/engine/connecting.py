"""Connecting to the engine that the settings name by URL.

A process either works (it runs workflows, so it listens for tasks) or only sends (the receiver of a remote engine). The
embedded engine lives in the process that opened it, and that process always works.
"""

from __future__ import annotations

import base64
import binascii
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec
from resonate.connections import HttpConnection
from resonate.connections.sse import resolve_target as poll_address
from resonate.resonate import Resonate
from resonate.retry import Exponential
from resonate.types import Value

from orchestrator.engine.client import Engine
from orchestrator.engine.embedded.connection import EmbeddedConnection
from orchestrator.engine.embedded.lease_keeper import LeaseKeeper
from orchestrator.engine.embedded.memory.lineages import origin_of
from orchestrator.engine.encryption.cipher import PayloadCipher
from orchestrator.engine.encryption.record_reader import TAMPERED, Inside
from orchestrator.engine.encryption.sealing import seal
from orchestrator.engine.remote.retrying import RetryingNetwork
from orchestrator.engine.remote.server import ServerListener
from orchestrator.engine.sdk_events import observe
from orchestrator.errors import ConfigurationError, EngineInUse, JournalUnusable, StartRefused
from orchestrator.failures import forbid_pickles

if TYPE_CHECKING:
    from pathlib import Path

    from resonate.context import Context

    from orchestrator.config.settings import Settings


#: How long a worker's lease on a task lasts without a heartbeat: after a `kill -9` another worker takes over then.
LEASE: Final = timedelta(seconds=20)

#: A step that raises is tried again after 1, 2, 4 ... 60 seconds, eight times in all, then the workflow sees the error.
STEP_RETRIES: Final = Exponential(delay=1, factor=2, max_delay=60, max_retries=8)

#: Tasks one worker runs at once. On Postgres each running task wants a connection; eight are the fastest there, more
#: only queue for the pool.
_TASKS: Final = {"embedded": 64, "memory": 64, "server": 64, "postgres": 8}


async def connect(settings: Settings, *, group: str | None = None, work: bool) -> Engine:
    """Return the engine the settings name, its file opened where it is embedded, and nothing started yet.

    `work` says whether this process will run workflows, those of `group`; an embedded engine is only opened to work.

    Raises:
        StartRefused: an embedded engine that this process cannot have, or an address that libpq does not take.
        ConfigurationError: the payload keys cannot read what is under way in an embedded engine.
    """
    address = settings.engine
    own_group = group if group is not None else settings.group
    seconds = settings.engine_timeout

    match address.kind:
        case "embedded" | "memory":
            if not work:
                msg = "an embedded engine runs its workers in the receiver: start `python -m receiver` alone"
                raise StartRefused(msg)

            embedded = EmbeddedConnection(address.path)
            await _opened(embedded, address.path)

            try:
                _require_readable(embedded, settings)
            except ConfigurationError:
                await embedded.stop()
                raise

            resonate = _resonate(settings, network=embedded, heartbeat=LeaseKeeper(embedded))

            return Engine(
                resonate,
                embedded=address.embedded,
                seconds=seconds,
                address_of=embedded.resolve_target,
                ends_plain_promises=True,
                wait=embedded.wait_settled,
                close=embedded.stop,
                marks=embedded.marks(seconds=seconds),
            )
        case "server":
            resonate = _over_server(settings, group=own_group, work=work)

            return Engine(
                resonate, embedded=address.embedded, seconds=seconds, address_of=poll_address, group=own_group
            )
        case "postgres":
            # Imported late: the driver is a tenth of a second and 13 MB that no other engine needs, and an extra.
            try:
                from orchestrator.engine.remote.postgres import (  # noqa: PLC0415
                    AutocommitSessions,
                    SchemaProbe,
                    TimedConnection,
                )
            except ModuleNotFoundError as error:
                reason = "names a Postgres database, whose driver is an extra: pip install 'countersign[postgres]'"
                raise ConfigurationError("COUNTERSIGN_ENGINE", reason) from error

            sessions = AutocommitSessions(address.url, seconds=seconds)
            pid = uuid.uuid4().hex
            connection = TimedConnection(sessions, group=own_group, pid=pid, work=work)
            resonate = _resonate(
                settings,
                network=RetryingNetwork(connection, seconds=seconds, retry_seconds=_retry_seconds(work=work)),
                sources=[connection] if work else [],
                group=own_group,
                pid=pid,
            )

            return Engine(
                resonate,
                embedded=address.embedded,
                seconds=seconds,
                address_of=poll_address,
                group=own_group,
                probe=SchemaProbe(sessions),
            )


def _over_server(settings: Settings, *, group: str, work: bool) -> Resonate:
    url, token, pid = settings.engine.url.text(), settings.resonate_token, uuid.uuid4().hex
    connection = HttpConnection(url, auth=None if token is None else token.text())

    return _resonate(
        settings,
        network=RetryingNetwork(connection, seconds=settings.engine_timeout, retry_seconds=_retry_seconds(work=work)),
        sources=[ServerListener(url, group=group, pid=pid, token=token)] if work else [],
        group=group,
        pid=pid,
    )


def _retry_seconds(*, work: bool) -> float:
    """Return the seconds for which a request is tried again. Whoever only sends is told at once, and tells its client.

    A worker has other things under way, and its lease is kept by nobody else meanwhile.
    """
    return LEASE.total_seconds() * 3 / 4 if work else 0


async def _opened(embedded: EmbeddedConnection, path: Path | None) -> None:
    try:
        await embedded.open()
    except (EngineInUse, JournalUnusable) as error:
        # Its text begins with the path, which is the setting's value.
        reason = str(error).removeprefix(str(path))

        for name, shown in ((path, "it"), (path and path.parent, "its folder")):
            reason = reason.replace(str(name), shown)

        raise type(error)(f"COUNTERSIGN_ENGINE names a file that{reason}") from error


def _require_readable(embedded: EmbeddedConnection, settings: Settings) -> None:
    """Refuse the start where the payload keys cannot read what is under way: it would be stuck without a word."""
    cipher = PayloadCipher(settings.payload_keys) if settings.payload_keys else None

    for promise in embedded.state.promises.values():
        if promise.state == "pending" and promise.param is not None and origin_of(promise.id) == promise.id:
            param = msgspec.json.decode(promise.param, type=Value)

            if not _is_readable(param, cipher):
                reason = f"cannot read {promise.id}, which is under way: was a key taken out, or encryption switched?"
                raise ConfigurationError("COUNTERSIGN_PAYLOAD_KEYS", reason)


def _is_readable(param: Value, cipher: PayloadCipher | None) -> bool:
    """Whether these keys are the right ones for a payload. One that was tampered with is its workflow's affair."""
    try:
        payload = base64.b64decode(param.data or "", validate=True)

        if cipher is not None:
            return cipher.knows(payload)

        msgspec.json.decode(payload)
    except (binascii.Error, msgspec.DecodeError):
        return False
    else:
        return True


def _resonate(settings: Settings, **connection: Any) -> Resonate:
    forbid_pickles()
    inside = Inside() if settings.payload_keys else None
    resonate = Resonate(
        **connection,
        encryptor=inside,
        ttl=LEASE,
        retry_policy=STEP_RETRIES,
        max_concurrent_tasks=_TASKS[settings.engine.kind],
        observer=observe,
        # Nobody keeps a handle for long, and what asks again would end the promise of an `expiry_look`.
        subscription_refresh_secs=0,
        # Everything ambient comes from the settings.
        env={},
        autostart=False,
    )

    if inside is not None:
        seal(resonate, PayloadCipher(settings.payload_keys), inside)

    resonate.register(_never_run, name=TAMPERED)

    return resonate


async def _never_run(_: Context) -> None:
    """Stand for the function of a promise that was tampered with: its task is wound up without a run."""
