"""What is done when a try of a step fails: how many there are, the pauses between them, and how long each may take."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from orchestrator.errors import Misdefined, StepUnavailable

if TYPE_CHECKING:
    from resonate.retry import RetryPolicy

#: How often a step is tried unless it says otherwise. Between eight tries lie two minutes.
TRIES: Final = 8

#: Seconds between the first and the second try. Each further pause is twice as long, up to the slowest.
FIRST_PAUSE: Final = 1.0
SLOWEST: Final = 60.0

#: The longest pause that an outside system can ask for. A step that pauses is held in memory.
LONGEST_ASKED: Final = 3600.0

#: Mistakes in the code: the next try would fail in the same way.
_MISTAKES: Final = (TypeError, NameError, AttributeError)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How often a step is tried, which errors end it at once, and how many seconds one try may take.

    `pace` replaces the number of tries and the pauses between them.
    """

    tries: int = TRIES
    never_retry: tuple[type[BaseException], ...] = ()
    timeout: float | None = None
    pace: RetryPolicy | None = None

    def pause(self, number: int, error: BaseException) -> float | None:
        """Return the seconds to wait after try `number` failed with this error, or None if it was the last one.

        An outside system that asked to be called later gets at least the pause it asked for, up to an hour.
        """
        if isinstance(error, (*_MISTAKES, *self.never_retry)):
            return None

        if self.pace is not None:
            return self.pace.next(number)

        if number >= self.tries:
            return None

        asked = error.retry_after if isinstance(error, StepUnavailable) else None
        # The pause has been at its longest for long before the power would get too large.
        usual = min(FIRST_PAUSE * 2 ** min(number - 1, 16), SLOWEST)

        return float(max(usual, min(asked or 0.0, LONGEST_ASKED)))


def policy_of(what: str, *, tries: Any, never_retry: Any, timeout: Any) -> Policy:
    """Return the policy of these values, as an author wrote them.

    Raises:
        Misdefined: a value is out of range; the message says of `what`.
    """
    if not isinstance(tries, int) or isinstance(tries, bool) or tries < 1:
        raise Misdefined(f"`tries` of {what} is a number of at least 1, not {tries!r}")

    classes = never_retry if isinstance(never_retry, tuple) else (never_retry,)

    if not all(inspect.isclass(each) and issubclass(each, BaseException) for each in classes):
        raise Misdefined(f"`never_retry` of {what} is a tuple of exception classes, not {never_retry!r}")

    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)

    if seconds is not None and not (is_number and 0 < seconds < math.inf):
        raise Misdefined(f"`timeout` of {what} is a timedelta or seconds, more than 0, not {timeout!r}")

    return Policy(tries=tries, never_retry=classes, timeout=None if seconds is None else float(seconds))
