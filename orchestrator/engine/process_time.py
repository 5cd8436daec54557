"""How a process counts the seconds of its own work, and is called back after some of them.

The engine's clock says when something is due for everybody. This one is for what only this process knows, and it is not
changed when somebody sets the machine's clock. Tests move both by hand.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Timer(Protocol):
    """A call that is due later."""

    def cancel(self) -> object:
        """Forget the call, if it has not been made."""


def _call_later(seconds: float, act: Callable[[], None]) -> Timer:
    return asyncio.get_running_loop().call_later(seconds, act)


@dataclass(frozen=True, kw_only=True)
class ProcessTime:
    """`seconds` since some moment in the past, and `later`, which calls a function after so many of them."""

    seconds: Callable[[], float] = time.monotonic
    later: Callable[[float, Callable[[], None]], Timer] = _call_later
