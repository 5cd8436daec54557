"""`python -m orchestrator`: a worker for one worker group."""

from __future__ import annotations

from orchestrator.signals import Signals

SIGNALS = Signals()

if __name__ == "__main__":
    SIGNALS.listen()  # before all the imports below, which take a second

import argparse
import asyncio
import contextlib
import logging
import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn

from orchestrator.config.settings import group_name, load_settings
from orchestrator.engine import connect
from orchestrator.errors import EngineUnavailable, SchemaMissing, StartRefused
from orchestrator.logs import configure_logging, release_standard_error
from orchestrator.runs.loading import load_workflows
from orchestrator.worker import dependencies_opened, prepare_worker

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from orchestrator.config.settings import Settings
    from orchestrator.engine import Engine

logger = logging.getLogger("orchestrator")

REFUSED: Final = 2

#: Seconds between two tries to reach an engine that is unreachable at the start.
_PAUSE: Final = 1.0


def main(
    arguments: Sequence[str] | None = None, *, prog: str = "python -m orchestrator", signals: Signals = SIGNALS
) -> int:
    """Run a worker until SIGTERM or SIGINT; return the exit code, 2 for a refused start."""
    signals.listen()
    parser = _Parser(
        prog=prog,
        description="A worker for one worker group.",
        epilog="Everything else is configured by COUNTERSIGN_* variables and .env.",
    )
    parser.add_argument("--group", help="the worker group (default: COUNTERSIGN_GROUP)")

    try:
        given = parser.parse_args(arguments)
        settings = load_settings()
        configure_logging(settings.log, settings.log_form)
        group = settings.group if given.group is None else group_name("--group", given.group)
        asyncio.run(_work(settings, group, signals))
    except StartRefused as error:
        print(error, file=sys.stderr)  # noqa: T201 - one line for whoever started us
        return REFUSED
    finally:
        release_standard_error()
        signals.ignore()

    return 0


class _Parser(argparse.ArgumentParser):
    """Reports a wrong argument in one line, like every refused start."""

    def error(self, message: str) -> NoReturn:
        raise StartRefused(f"{self.prog}: {message}")


async def _work(settings: Settings, group: str, signals: Signals) -> None:
    if settings.engine.embedded:
        raise StartRefused(
            "COUNTERSIGN_ENGINE names an embedded engine, which one process owns: "
            "`python -m receiver` runs its workers, so do not start any other process"
        )

    workflows = load_workflows(settings.workflows)
    async with contextlib.AsyncExitStack() as stack:
        engine = await connect(settings, group=group, work=True)

        try:
            prepare_worker(engine, settings, workflows.values(), group=group)
            # Until signals are delivered, SIGTERM ends the process, however long this takes.
            await stack.enter_async_context(
                dependencies_opened(engine, workflows.values(), settings.workflows, group=group)
            )
            await _take_tasks(engine, settings, group, signals)
        finally:
            await engine.stop()


async def _take_tasks(engine: Engine, settings: Settings, group: str, signals: Signals) -> None:
    stop = asyncio.Event()
    signals.deliver(asyncio.get_running_loop(), stop=lambda _: stop.set())
    await _wait_for_engine(engine, stop)

    if not stop.is_set():
        engine.start()
        logger.info("working for group %s on %s", group, settings.engine.display)

    await stop.wait()
    logger.info("stopping")


async def _wait_for_engine(engine: Engine, stop: asyncio.Event) -> None:
    """Return once the engine responds or `stop` is set. A reason why it does not respond is logged when it changes.

    Raises:
        StartRefused: the database holds no engine, and waiting does not change that.
    """
    logged = ""

    while not stop.is_set():
        try:
            await _unless(stop, engine.check())
        except SchemaMissing as error:
            raise StartRefused(str(error)) from error
        except EngineUnavailable as error:
            if logged != (logged := f"{error} {error.detail}".strip()):
                logger.warning("the engine is unreachable and is tried again every second: %s", logged)
        else:
            return

        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _PAUSE)


async def _unless(stop: asyncio.Event, call: Coroutine[Any, Any, None]) -> None:
    """Await this call, but no longer than until `stop` is set."""
    calling, stopping = asyncio.ensure_future(call), asyncio.ensure_future(stop.wait())

    try:
        await asyncio.wait({calling, stopping}, return_when=asyncio.FIRST_COMPLETED)

        if calling.done():
            calling.result()
    finally:
        calling.cancel()
        stopping.cancel()


if __name__ == "__main__":
    sys.exit(main())
