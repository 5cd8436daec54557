"""What all tests share: slow marks, reproducible inputs, asyncio, logging as in a program, and the engines."""

from __future__ import annotations

import io
import logging
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants
from support.engines import KINDS, Database, postgres, resonate_server
from support.hurrying import hurry
from support.postbox import certificate_in
from support.selection import is_slow, only_slow_tests_start_processes, ports_of_this_worker

from orchestrator.logs import Form, Level, configure_logging

if TYPE_CHECKING:
    from collections.abc import Iterator


# Every run of the suite draws the same inputs, on every machine. No input is too slow: the machine may be busy.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.register_profile("reproducible", UNHURRIED, derandomize=True, database=None)
settings.register_profile("explore", UNHURRIED, derandomize=False)

KEPT = ("logThreads", "logProcesses", "logMultiprocessing")


class Start(Protocol):
    """Configures logging and returns the stream that it writes to."""

    def __call__(self, level: Level, form: Form = "text") -> io.StringIO: ...


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--explore", action="store_true", help="generated tests draw other inputs every time (see --hypothesis-seed)"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Choose the profile before any test module is imported: a test reads its settings when it is decorated."""
    explores = config.getoption("--explore")
    settings.load_profile("explore" if explores else "reproducible")

    if not explores:
        # Hypothesis mixes in constants from the local modules loaded so far. A test on its own would draw different
        # inputs than in the whole suite, and different ones again after a change elsewhere.
        providers._get_local_constants = Constants

    ports_of_this_worker()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if is_slow(item):
            item.add_marker("slow")


@pytest.fixture(autouse=True)
def _slow_where_it_starts_a_process(request: pytest.FixtureRequest) -> Iterator[None]:
    with only_slow_tests_start_processes(request.node):
        yield


@pytest.fixture
def start() -> Iterator[Start]:
    """Configures logging as a program does, on a stream of the test, and restores everything afterwards.

    The test itself calls it, because the test runner installs its own handlers just before the test.
    """
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    known = [logger for logger in root.manager.loggerDict.values() if isinstance(logger, logging.Logger)]
    before = {logger.name: (logger.level, logger.handlers[:], logger.propagate) for logger in known}
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
    kept = {name: getattr(logging, name) for name in KEPT}
    # The Databricks step raises its level when it is first used, for the rest of the process.
    logging.getLogger("databricks.sdk").setLevel(logging.NOTSET)

    def configure(level: Level, form: Form = "text") -> io.StringIO:
        stream = io.StringIO()
        logging.captureWarnings(capture=False)
        configure_logging(level, form, stream)
        return stream

    yield configure
    logging.captureWarnings(capture=False)
    sys.excepthook, sys.unraisablehook, threading.excepthook = hooks
    for name, value in kept.items():
        setattr(logging, name, value)

    root.handlers[:] = handlers
    root.setLevel(level)
    for logger in root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            own_level, logger.handlers[:], logger.propagate = before.get(logger.name, (logging.NOTSET, [], True))
            logger.setLevel(own_level)


@pytest.fixture(autouse=True)
def _logging_stays_on() -> Iterator[None]:
    """A program that is run inside a test may switch logging off for its process."""
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def anyio_backend() -> str:
    """The SDK runs only on asyncio."""
    return "asyncio"


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes pauses last a tenth, for tests that are not about the length of a pause."""
    hurry(monkeypatch)


@pytest.fixture(scope="session")
def database() -> Iterator[Database]:
    """A Postgres server for the whole session; every test gets a database of its own."""
    # Not below pytest's own folder: under root, the server runs as another user, who may not read that.
    folder = tempfile.TemporaryDirectory(prefix="countersign-", ignore_cleanup_errors=True)

    with folder as name, postgres(Path(name)) as one:
        yield one


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost with its key, in one file."""
    return certificate_in(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=KINDS)
def engine_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a new engine, of each kind in turn."""
    match request.param:
        case "memory":
            yield "memory://"
        case "sqlite":
            yield f"sqlite:///{tmp_path}/engine.db"
        case "postgres":
            database: Database = request.getfixturevalue("database")
            yield (url := database.fresh())
            database.drop(url)
        case "server":
            with resonate_server(tmp_path) as server:
                yield server.url
