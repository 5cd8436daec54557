"""What the operator sees: one log line per event, and metrics; neither ever holds a token, a key, a secret or a body.

The code that logs is expected to name things by promise id and callback name. This file is the second line of
defence: it masks what looks like a secret in any text on its way out, keeps libraries that print requests quiet, and
takes metric labels from fixed sets. It cannot recognise a body or an API key of the operator's own shape; those must
not be logged.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import time
from typing import TYPE_CHECKING, Final, Literal, TextIO, get_args

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from starlette.types import Scope

_access = logging.getLogger("receiver.access")
_crashes = logging.getLogger("receiver.crash")

REDACTED: Final = "[redacted]"

# What is looked for, in lower case, before the pattern is tried, since every line that is logged pays for all of them.
# Each run of token characters is entered once and never given back: masking is linear on any text.
_SECRETS: Final = (
    (".", re.compile(r"(?<![\w-])[\w-]{16,}+(?:\.[\w-]{1,16}+)?\.[\w-]{43}", re.ASCII), REDACTED),
    ("eyj", re.compile(r"eyJ[\w-]{8,}+(?:\.[\w-]*+)*", re.ASCII), REDACTED),
    ("bearer", re.compile(r"(bearer)(\s++|\\n|%20)[^\s'\",;)\]}]+", re.IGNORECASE), rf"\1\2{REDACTED}"),
    ("basic", re.compile(r"\b(basic)(\s++|\\n|%20)[^\s'\",;)\]}]+", re.IGNORECASE), rf"\1\2{REDACTED}"),
    ("whsec_", re.compile(r"whsec_[\w+/=-]*", re.ASCII), REDACTED),
    ("://", re.compile(r"://[^/?#\s]*@"), f"://{REDACTED}@"),
    ("=", re.compile(r"=(?:(?<=password=)|(?<=secret=)|(?<=token=))[^\s&'\",;)\]}]+", re.IGNORECASE), f"={REDACTED}"),
    ("dapi", re.compile(r"dapi[0-9a-f]{32}"), REDACTED),
)

# Loggers of these libraries print requests, with their addresses or bodies, below the level given here.
_QUIET: Final[Mapping[str, int]] = {
    "aiohttp": logging.WARNING,
    "aiosmtplib": logging.WARNING,
    "asyncio": logging.WARNING,
    "databricks": logging.WARNING,
    "google": logging.WARNING,
    "httpcore": logging.WARNING,
    "httpcore2": logging.WARNING,
    "httpx": logging.WARNING,
    "httpx2": logging.WARNING,
    "mail": logging.WARNING,
    "openai": logging.WARNING,
    "psycopg": logging.WARNING,
    "requests": logging.WARNING,
    "resonate": logging.INFO,
    "resonate_base": logging.INFO,
    "resonate_pg": logging.INFO,
    "urllib3": logging.WARNING,
}

Level = Literal["debug", "info", "warning"]
CallbackOutcome = Literal["applied", "duplicate", "ikey_reused", "other", "closed", "refused"]

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_CALLBACK_KEY: Final = "countersign.callback"
_TOO_MANY: Final = 429


def redact(text: str) -> str:
    """Return `text` with everything in it that looks like a secret masked."""
    lowered = text.lower()
    for needle, pattern, replacement in _SECRETS:
        if needle in lowered:
            text = pattern.sub(replacement, text)

    return text


def one_line(text: str) -> str:
    r"""Return `text` with every control and other unprintable character escaped, a newline as `\n`."""
    if text.isprintable():
        return text

    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def configure_logging(level: Level, stream: TextIO | None = None) -> None:
    """Make one handler on `stream` (standard error by default) the only way out, for everything that is logged.

    Only our own loggers follow `level` down to debug; others stay at INFO and those that print requests above that. The
    HTTP server's access log, which holds paths, is off. Uncaught exceptions and warnings are logged the same way.
    """
    handler = _Handler(sys.stderr if stream is None else stream)
    handler.setFormatter(_Formatter())
    # No line shows these, and each costs something on every record.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    root = logging.getLogger()
    for old in tuple(root.handlers):
        root.removeHandler(old)

    root.addHandler(handler)
    chosen = logging.getLevelNamesMapping()[level.upper()]
    root.setLevel(max(chosen, logging.INFO))
    for own in ("orchestrator", "receiver"):
        logging.getLogger(own).setLevel(chosen)

    for library, least in _QUIET.items():
        logging.getLogger(library).setLevel(max(chosen, least))

    uvicorn_access = logging.getLogger("uvicorn.access")
    uvicorn_access.handlers.clear()
    uvicorn_access.propagate = False
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def name_callback(scope: Scope, promise_id: str, callback: str) -> None:
    """Note which callback this request is about, once its token is verified; the access line names it."""
    scope[_CALLBACK_KEY] = (promise_id, callback)


def route_template(scope: Scope) -> str:
    """Return the path as the route was declared, `/callbacks/{token}`, or `unmatched`; never the path as requested."""
    path = getattr(scope.get("route"), "path_format", None)
    return path if isinstance(path, str) else "unmatched"


def log_request(scope: Scope, route: str, status: int, seconds: float) -> None:
    """Write the access line of a request. Those told to slow down are lines at debug: a flood must not fill the log."""
    level = logging.DEBUG if status == _TOO_MANY else logging.INFO
    if not _access.isEnabledFor(level):
        return

    method = _method(scope["method"])
    named = scope.get(_CALLBACK_KEY)
    if named is None:
        _access.log(level, "%s %s %d %.1fms", method, route, status, seconds * 1000)
    else:
        _access.log(
            level, "%s %s %d %.1fms promise=%s callback=%s", method, route, status, seconds * 1000, named[0], named[1]
        )


class Metrics:
    """The receiver's metrics, in a registry of their own. Labels come from route templates, methods and statuses."""

    def __init__(self) -> None:
        self._registry: Final = CollectorRegistry()
        self._requests: Final = Histogram(
            "countersign_request_seconds",
            "Seconds from a request's headers to the end of its answer.",
            ("route", "method", "status"),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._callbacks: Final = Counter(
            "countersign_callbacks",
            "Machine callbacks by what became of them.",
            ("outcome",),
            registry=self._registry,
        )
        self._engine_errors: Final = Counter(
            "countersign_engine_errors",
            "Requests the engine did not answer in time, or answered with garbage.",
            registry=self._registry,
        )
        # An outcome that has not happened yet is shown as zero, so that a rate can be taken from the first one on.
        for outcome in get_args(CallbackOutcome):
            self._callbacks.labels(outcome)

        # Finding a labelled child costs more than observing it, so each is looked up once.
        self._observers: Final[dict[tuple[str, str, int], Histogram]] = {}

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one answered request; `route` is a template, never a path."""
        key = (route, _method(method), status)
        observer = self._observers.get(key)
        if observer is None:
            observer = self._observers[key] = self._requests.labels(key[0], key[1], str(status))

        observer.observe(seconds)

    def callback(self, outcome: CallbackOutcome) -> None:
        """Count one machine callback; `other` lost to somebody else, `closed` came after the wait was over."""
        self._callbacks.labels(outcome).inc()

    def engine_error(self) -> None:
        """Count one request that the engine failed."""
        self._engine_errors.inc()

    def render(self) -> tuple[bytes, str]:
        """Return the metrics in the Prometheus text format, and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST


class _Formatter(logging.Formatter):
    """Formats first and masks then, so that a secret put together from several arguments is seen too."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        # A text that another handler cached on the record was made without us.
        record.exc_text = None
        text = super().format(record)
        record.exc_text = None
        return one_line(redact(text))


class _Handler(logging.StreamHandler[TextIO]):
    """A stream handler whose own failure does not print the arguments of the record it failed on."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 the library's name
        kind = sys.exception().__class__.__name__
        try:
            self.stream.write(f"a record of logger {one_line(record.name)} could not be written: {kind}\n")
            self.flush()
        except (OSError, ValueError):
            return  # standard error itself is gone


def _method(method: str) -> str:
    return method if method in _METHODS else "other"


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return

    _crashes.critical("uncaught exception", exc_info=(kind, error, trace))


def _log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not issubclass(args.exc_type, SystemExit):
        _crashes.critical(
            "uncaught exception in a thread", exc_info=(args.exc_type, args.exc_value, args.exc_traceback)
        )
