"""The log: one line per event, which never holds a token, a key, a secret or a body.

The code that logs is expected to name things by promise id and callback name. This file is the second line of defence.
It masks what looks like a secret in every text, shows an exception by its type and place and never by its text, and
keeps libraries that print requests quiet. It cannot recognise a body or an API key of the operator's own shape; those
must not be logged.
"""

from __future__ import annotations

import copy
import functools
import json
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO

from orchestrator.errors import WorkflowEnded
from orchestrator.text.crashes import describe_crash, name_of_kind
from orchestrator.text.display import escape_unprintable
from orchestrator.text.redaction import redact

if TYPE_CHECKING:
    from types import TracebackType

_crashes = logging.getLogger("orchestrator.crash")

#: The logger of access lines.
ACCESS: Final = "receiver.access"

#: The loggers of these libraries print requests, with their addresses or bodies, below the level given here.
_QUIET: Final[Mapping[str, int]] = {
    "aiohttp": logging.WARNING,
    "asyncio": logging.WARNING,
    "databricks": logging.WARNING,
    "google": logging.WARNING,
    "httpcore": logging.WARNING,
    "httpcore2": logging.WARNING,
    "httpx": logging.WARNING,
    "httpx2": logging.WARNING,
    "mail": logging.WARNING,
    "psycopg": logging.WARNING,
    "requests": logging.WARNING,
    "resonate": logging.INFO,
    # It prints what it could not read. Our observer of the SDK reports the same failure.
    "resonate.transport": logging.ERROR,
    "resonate_base": logging.INFO,
    "resonate_pg": logging.INFO,
    "urllib3": logging.WARNING,
}

#: Those of them that an application has only because it uses Countersign.
_OURS_ALONE: Final = ("databricks", "resonate", "resonate.transport", "resonate_base", "resonate_pg")

_NO_SENTENCE: Final = re.compile(r"[\n(<].*", re.DOTALL)

#: Which arguments of asyncio's lines are shown: numbers, and exceptions, by their type.
_PLAIN: Final = (int, float, BaseException)

#: Our packages: their loggers, and the modules of our own errors.
_OWN: Final = ("orchestrator", "receiver")

Level = Literal["debug", "info", "warning"]
Form = Literal["text", "json"]


def configure_logging(level: Level, form: Form = "text", stream: TextIO | None = None) -> None:
    """Send everything that is logged through one handler on `stream` (standard error by default).

    Only our own loggers follow `level` down to debug; others stay at INFO, and those that print requests above that.
    The HTTP server's access log is off, because it holds paths. Uncaught exceptions, exceptions that no code can catch
    and warnings are logged the same way.

    In the form `json` each record is one JSON object on one line, in ASCII: `time`, `level`, `logger` and `message`,
    `exception` where there is one, and what the record carries as `fields`.
    """
    handler = _Handler(_standard_error() if stream is None else stream)
    handler.addFilter(_discreet)
    handler.setFormatter(_Formatter() if form == "text" else _JsonFormatter())
    # No line shows these, and collecting them takes time for every record.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    root = logging.getLogger()
    for old in tuple(root.handlers):
        root.removeHandler(old)

    root.addHandler(handler)
    chosen = logging.getLevelNamesMapping()[level.upper()]
    root.setLevel(max(chosen, logging.INFO))
    for own in _OWN:
        logging.getLogger(own).setLevel(chosen)

    for library, least in _QUIET.items():
        logging.getLogger(library).setLevel(max(chosen, least))

    uvicorn_access = logging.getLogger("uvicorn.access")
    uvicorn_access.handlers.clear()
    uvicorn_access.propagate = False
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_uncaught
    sys.unraisablehook = _log_unraisable
    threading.excepthook = _log_uncaught_in_thread


def quiet_libraries() -> None:
    """Keep the libraries that only Countersign uses from printing requests, unless somebody has set their level.

    This is for an application that configures its own logging.
    """
    for library in _OURS_ALONE:
        chosen = logging.getLogger(library)

        if chosen.level == logging.NOTSET:
            chosen.setLevel(_QUIET[library])


def log_line(logger: logging.Logger, level: int, line: str, fields: Mapping[str, object]) -> None:
    """Log a whole line, and what it says as fields.

    `Logger.log` also looks for the line of code that called it. No line here shows that, and the search takes time,
    which counts where there is a line for every request and every workflow.
    """
    if logger.isEnabledFor(level):
        logger.handle(logger.makeRecord(logger.name, level, __file__, 0, line, (), None, extra={"fields": fields}))


def _discreet(record: logging.LogRecord) -> logging.LogRecord:
    """Return the record with the exceptions in its message and arguments replaced by what a line may show of them."""
    message: object = record.msg
    arguments = record.args

    if isinstance(message, BaseException):
        message = _shown(message)
    elif record.name == "asyncio" and not arguments:
        # Only the sentence at the start is kept. After it come calls with their arguments, and lines that show
        # objects, futures and their exceptions.
        message = _NO_SENTENCE.sub("", str(message))
    elif record.name == "asyncio" and isinstance(arguments, tuple):
        # In debug mode asyncio shows what was slow: a call with its arguments, a task with its exception.
        arguments = tuple(each if isinstance(each, _PLAIN) else "[...]" for each in arguments)
    elif record.name == "py.warnings":
        # pydantic shows the value that it warns of.
        message = str(message).partition("input_value=")[0]

    if isinstance(arguments, tuple):
        if any(isinstance(each, BaseException) for each in arguments):
            arguments = tuple(map(_shown, arguments))

    elif isinstance(arguments, Mapping):
        arguments = {name: _shown(each) for name, each in arguments.items()}

    if message is record.msg and arguments is record.args:
        return record

    changed = copy.copy(record)
    changed.msg, changed.args = str(message), arguments

    return changed


def _shown(argument: object) -> object:
    """Return what a line may show of an argument: our own errors with their text, other exceptions by their type.

    The text of an error with which a workflow ends is its author's, so it is not shown either.
    """
    if not isinstance(argument, BaseException):
        return argument

    ours = type(argument).__module__.partition(".")[0] in _OWN and not isinstance(argument, WorkflowEnded)

    return argument if ours else name_of_kind(argument)


class _Formatter(logging.Formatter):
    """Formats first and masks afterwards, so that a secret assembled from several arguments is masked too.

    What another handler has cached in the record, such as a whole traceback, is not used.
    """

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - the library's name
        """Return when the record was made: RFC 3339 in UTC, to the millisecond."""
        del datefmt
        return f"{_to_the_second(int(record.created))}.{int(record.msecs):03}Z"

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the library's name
        """Return the exception's type and place instead of its traceback, which ends in its text."""
        return describe_crash(ei[1]) if ei[1] is not None else "no exception"

    def format(self, record: logging.LogRecord) -> str:
        text = f"{self.formatTime(record)} {record.levelname} {record.name} {record.getMessage()}"

        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"

        if record.stack_info:
            text = f"{text}\n{record.stack_info}"

        return escape_unprintable(redact(text) if _may_hold_secrets(record) else text)


class _JsonFormatter(_Formatter):
    """Writes the same texts, masked in the same way, as the members of one JSON object in ASCII.

    What a record carries as `fields` (its `extra`) becomes members too. None of them replaces `time`, `level`, `logger`
    or `message`.
    """

    def format(self, record: logging.LogRecord) -> str:
        mask = redact if _may_hold_secrets(record) else str
        entry: dict[str, Any] = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "logger": escape_unprintable(record.name),
            "message": escape_unprintable(mask(record.getMessage())),
        }

        for name, value in getattr(record, "fields", {}).items():
            entry.setdefault(name, escape_unprintable(mask(value)) if isinstance(value, str) else value)

        if record.exc_info:
            entry["exception"] = _lines(redact(self.formatException(record.exc_info)))

        if record.stack_info:
            entry["stack"] = _lines(redact(record.stack_info))

        return json.dumps(entry, allow_nan=False)


@functools.lru_cache(maxsize=2)
def _to_the_second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _may_hold_secrets(record: logging.LogRecord) -> bool:
    # An access line consists of route templates and verified names only, and there is one for every request.
    return record.name != ACCESS or record.exc_info is not None


def _lines(text: str) -> str:
    """Return `text` with everything unprintable in it escaped, except the ends of its lines."""
    return "\n".join(escape_unprintable(line) for line in text.split("\n"))


def release_standard_error() -> None:
    """Drop what standard error did not take, at the end of a process.

    Its reader may be gone, or its disk full. The interpreter would try to write the rest, and end with exit code 120.
    """
    try:
        if sys.stderr is not None:
            sys.stderr.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def _standard_error() -> TextIO:
    """Return standard error, or nowhere if it is closed; then no other file gets one of the numbers 0 to 2."""
    return sys.stderr or os.fdopen([os.open(os.devnull, os.O_RDWR) for _ in range(3)][-1], "w")


class _Handler(logging.StreamHandler[TextIO]):
    """A stream handler whose own failure does not print the arguments of the record it failed on."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 the library's name
        kind = sys.exception().__class__.__name__
        try:
            failure = f"a record of logger {record.name} could not be written: {kind}"
            report = logging.makeLogRecord({"name": __name__, "levelname": "ERROR", "msg": failure})
            self.stream.write(self.format(report) + self.terminator)
            self.flush()
        except (OSError, ValueError):
            return  # standard error itself is gone


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return

    _crashes.critical("uncaught exception", exc_info=(kind, error, trace))


def _log_unraisable(args: sys.UnraisableHookArgs) -> None:
    """Log an exception that no code could catch, as in a finaliser. Python would print it over several lines."""
    error = args.exc_value

    if error is not None:
        _crashes.error("an exception was ignored", exc_info=(args.exc_type, error, args.exc_traceback))


def _log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not issubclass(args.exc_type, SystemExit):
        _crashes.critical(
            "uncaught exception in a thread", exc_info=(args.exc_type, args.exc_value, args.exc_traceback)
        )
