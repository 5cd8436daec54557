"""What the SDK reports instead of raising, logged without its quotes, which may contain a payload.

Some lines that the SDK logs by itself would mislead. They call something a fault that is none: a workflow that ends
while a wait of its own is open, and one that somebody else has ended or taken over while its code ran here. Another
says that an execution failed, also when the engine was unreachable for a moment; the workflow goes on with its next
delivery.
"""

from __future__ import annotations

import copy
import logging
import re
from typing import TYPE_CHECKING, Final

from resonate.error import PlatformError, ServerError
from resonate.observability import BackgroundTaskFailed, Dropped

if TYPE_CHECKING:
    from resonate.observability import Event

logger = logging.getLogger(__name__)

#: How the SDK's own errors begin. The rest of them, and any other error, may quote the data that was processed.
_CAUSE: Final = re.compile(
    r"server error \(code=\d{1,5}\)|(?:serialization|base64 decode|decoding|connector) error"
    r"|execution stopped|function not found"
)


def observe(event: Event) -> None:
    """Log the errors that the SDK swallows. Its own observer would also log every promise it creates or settles."""
    match event:
        case Dropped(what=what, id=promise_id, cause=cause):
            logger.warning("the SDK dropped a %s of %s: %s", what, promise_id or "no id", _without_quotes(cause))
        case BackgroundTaskFailed(cause=cause) if "code=409" in cause:
            # Another worker was first, or the workflow has ended: nothing is wrong.
            logger.debug("a task went to another worker: %s", _without_quotes(cause))
        case BackgroundTaskFailed(cause=cause):
            logger.error("a task of the SDK failed: %s", _without_quotes(cause))


#: How the format strings of those lines begin.
_NO_FAULT: Final = ("core: workflow returned done with pending remote todos", "core: promise already settled")
_GIVEN_UP: Final = "core: execution failed, releasing task"
_NOT_GIVEN_BACK: Final = "core: failed to release task after error"

_CONFLICT: Final = 409


def correct_lines() -> None:
    """Correct what the SDK logs, in this whole process. A second call does nothing."""
    logging.getLogger("resonate.core").addFilter(_corrected)


def _corrected(record: logging.LogRecord) -> logging.LogRecord | bool:
    text = str(record.msg)

    if text.startswith(_NO_FAULT):
        return False

    match record.args:
        case _ if text.startswith(_NOT_GIVEN_BACK) and _is_of_a_task_lost(record):
            return False
        case (task_id, *_) if text.startswith(_GIVEN_UP) and _is_of_a_task_lost(record):
            changed = _changed(record, logging.INFO, "%s was ended, or taken over, while its code ran here", task_id)
            changed.exc_info = None

            return changed
        case (task_id, *_) if text.startswith(_GIVEN_UP):
            return _changed(record, logging.WARNING, "%s stopped before its end and is delivered again", task_id)
        case _:
            return True


def _changed(record: logging.LogRecord, level: int, line: str, task_id: object) -> logging.LogRecord:
    changed = copy.copy(record)
    changed.levelno, changed.levelname = level, logging.getLevelName(level)
    changed.msg, changed.args = line, (task_id,)

    return changed


def _is_of_a_task_lost(record: logging.LogRecord) -> bool:
    """Return whether the engine refused something because this process does not have the task any more."""
    error = record.exc_info[1] if record.exc_info else None

    causes = error.causes if isinstance(error, PlatformError) else [error]

    return all(isinstance(cause, ServerError) and cause.code == _CONFLICT for cause in causes)


def _without_quotes(cause: str) -> str:
    """Return the beginning of an error if it is known to quote nothing."""
    known = _CAUSE.match(cause)

    return known[0] if known is not None else "an unexpected error"
