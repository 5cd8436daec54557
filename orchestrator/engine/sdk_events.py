"""What the SDK reports instead of raising, logged without what it quotes: that may be a payload."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Final

from resonate.observability import BackgroundTaskFailed, Dropped

if TYPE_CHECKING:
    from resonate.observability import Event

logger = logging.getLogger(__name__)

#: How the SDK's own errors begin. What follows, or another error altogether, may quote what was being worked on.
_CAUSE: Final = re.compile(
    r"server error \(code=\d{1,5}\)|(?:serialization|base64 decode|decoding|connector) error"
    r"|execution stopped|function not found"
)


def observe(event: Event) -> None:
    """Log what the SDK swallows. Its own observer also logs every promise that it creates or settles."""
    match event:
        case Dropped(what=what, id=promise_id, cause=cause):
            logger.warning("the SDK dropped a %s of %s: %s", what, promise_id or "no id", _without_quotes(cause))
        case BackgroundTaskFailed(cause=cause) if "code=409" in cause:
            # Another worker was first, or the workflow has ended meanwhile: nothing is wrong.
            logger.debug("a task went to somebody else: %s", _without_quotes(cause))
        case BackgroundTaskFailed(cause=cause):
            logger.error("a task of the SDK failed: %s", _without_quotes(cause))


def _without_quotes(cause: str) -> str:
    """Return how an error begins, where that is known to quote nothing."""
    known = _CAUSE.match(cause)

    return known[0] if known is not None else "an unexpected error"
