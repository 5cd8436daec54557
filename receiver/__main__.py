"""`python -m receiver`: the HTTP edge; with an embedded engine the workers of all groups as well."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from typing import TYPE_CHECKING, Final

import uvicorn

from orchestrator.definition import load_workflows
from orchestrator.engine import connect
from orchestrator.errors import ConfigurationError, StartRefused
from orchestrator.logs import configure_logging
from orchestrator.settings import load_settings
from orchestrator.worker import equip
from receiver.app import create_app
from receiver.sources import Sources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from orchestrator.engine import Engine
    from orchestrator.settings import Settings

logger = logging.getLogger("receiver")

REFUSED: Final = 2

#: SIGTERM lets requests that are under way finish for so many seconds; running steps get a few more.
_DRAIN: Final = 4

#: Requests at once before the server answers 503 by itself: what a file descriptor limit of 1024 still bears.
_CONNECTIONS: Final = 900


def main() -> int:
    """Serve until SIGTERM or SIGINT; return the exit code, 2 for a refused start."""
    try:
        settings = load_settings()
        configure_logging(settings.log)

        with _bound(settings) as listener, asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(settings, listener))

    except StartRefused as error:
        print(error, file=sys.stderr)  # noqa: T201 - one line for whoever started us
        return REFUSED

    return 0


async def _serve(settings: Settings, listener: socket.socket) -> None:
    workflows = load_workflows(settings.workflows)
    sources = Sources(settings, workflows)
    embedded = settings.engine.kind in {"embedded", "memory"}
    engine = await connect(settings, work=embedded)

    if embedded:
        equip(engine, settings, workflows.values())
        engine.start()

    server = _Server(
        engine,
        uvicorn.Config(
            create_app(settings, engine, workflows, sources),
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=_DRAIN,
            forwarded_allow_ips="127.0.0.1",
        ),
    )
    host, port = listener.getsockname()[:2]
    logger.info("receiving on http://%s:%s, engine %s", host, port, settings.engine.display)

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, loop.run_in_executor, None, sources.reload)

    try:
        await server.serve(sockets=[listener])
    finally:
        await engine.stop()


class _Server(uvicorn.Server):
    """A server that ends on a signal, where uvicorn's own raises the signal again and so dies of it."""

    def __init__(self, engine: Engine, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._engine = engine

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._engine.hurry()
        super().handle_exit(sig, frame)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)

        yield


def _bound(settings: Settings) -> socket.socket:
    """Return a listening socket, taken before anything else is touched."""
    try:
        return socket.create_server((settings.host, settings.port), family=_family(settings.host), backlog=2048)
    except OSError as error:
        raise ConfigurationError("COUNTERSIGN_PORT", f"cannot be bound on this host: {error.strerror}") from error


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    with contextlib.suppress(ImportError):
        import uvloop  # noqa: PLC0415 - not on every platform

        return uvloop.new_event_loop

    return None


if __name__ == "__main__":
    sys.exit(main())
