"""`python -m receiver`: the HTTP edge; with an embedded engine the workers of all groups as well."""

from __future__ import annotations

from orchestrator.signals import Signals

SIGNALS = Signals()

if __name__ == "__main__":
    SIGNALS.listen()  # before all the imports below, which take a second

import argparse
import asyncio
import contextlib
import errno
import functools
import gc
import logging
import os
import socket
import sys
from typing import TYPE_CHECKING, Final

from orchestrator.config.settings import load_settings
from orchestrator.errors import ConfigurationError, StartRefused
from orchestrator.logs import configure_logging, release_standard_error
from receiver.app import connected
from receiver.http.protocol.server import Server, allow_many_connections

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchestrator.config.settings import Settings

logger = logging.getLogger("receiver")

REFUSED: Final = 2


def main(
    arguments: Sequence[str] | None = None, *, prog: str = "python -m receiver", signals: Signals = SIGNALS
) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code, 2 for a refused start."""
    signals.listen()

    try:
        _refuse_arguments(sys.argv[1:] if arguments is None else arguments, prog)
        settings = load_settings()
        configure_logging(settings.log, settings.log_form)
        allow_many_connections()

        with _bound(settings) as listener, asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(settings, listener, signals))

    except StartRefused as error:
        print(error, file=sys.stderr)  # noqa: T201 - the one line that explains a refused start
        return REFUSED
    finally:
        release_standard_error()
        signals.ignore()

    return 0


def _refuse_arguments(arguments: Sequence[str], prog: str) -> None:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="The HTTP edge; with an embedded engine the workers of all groups as well.",
        epilog="It takes no other arguments: COUNTERSIGN_* variables and .env configure it.",
    )

    if parser.parse_known_args(arguments)[1]:
        raise StartRefused(f"{prog} takes no arguments: configure it with environment variables")


async def _serve(settings: Settings, listener: socket.socket, signals: Signals) -> None:
    async with connected(settings) as parts:
        server = Server(parts.app(), stopping=parts.engine.release_waiters)
        loop = asyncio.get_running_loop()
        reload = functools.partial(loop.run_in_executor, None, parts.sources.reload)
        signals.deliver(loop, stop=server.stop, reload=reload)
        parts.work()
        _collect_seldom()
        host, port = listener.getsockname()[:2]
        logger.info("receiving on http://%s:%s, engine %s", host, port, settings.engine.display)
        await server.serve(sockets=[listener])


def _collect_seldom() -> None:
    """Make full garbage collections rare: with 10 000 workflows waiting, one blocks the event loop for 0.1 seconds.

    Objects that exist by now live as long as the process, and the garbage of requests is collected in the young
    generation.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 1_000)


def _bound(settings: Settings) -> socket.socket:
    """Return a listening socket. It is bound before anything else, so that a taken port has no side effects."""
    try:
        return socket.create_server((settings.host, settings.port), family=_family(settings.host), backlog=2048)
    except OSError as error:
        # A failed name lookup has a negative number. The error's own text is not shown, because it names the address.
        known = error.errno is not None and error.errno > 0
        variable = "COUNTERSIGN_PORT" if known and error.errno != errno.EADDRNOTAVAIL else "COUNTERSIGN_HOST"
        reason = os.strerror(error.errno) if known and error.errno else "not an address or name of this host"
        raise ConfigurationError(variable, f"cannot be bound: {reason}") from error


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    with contextlib.suppress(ImportError):
        import uvloop  # noqa: PLC0415 - not on every platform

        return uvloop.new_event_loop

    return None


if __name__ == "__main__":
    sys.exit(main())
