"""What goes wrong with requests to the emulator, as a test asks for it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong with the next `count` requests to `on` (the API's path, such as run-now or runs/get, or *).

    lost: the request takes effect, then the connection is closed without a response. refused: the connection is closed
    without any effect. status: no effect; the response has `status`, `error_code`, `message` and Retry-After if
    `retry_after` is given, or only the text `body`. garbage: the request takes effect; the response is 200 with the
    text `message`. slow: the request takes effect and is answered normally, `seconds` late.
    """

    kind: Literal["lost", "refused", "status", "garbage", "slow"]
    on: str = "run-now"
    count: int = 1
    status: int = 503
    error_code: str = "TEMPORARILY_UNAVAILABLE"
    message: str = "The service is temporarily unavailable"
    body: str | None = None
    retry_after: int | None = None
    seconds: float = 0.0


class Faults:
    """The faults that have not happened yet, oldest first."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Fault, int]] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        """Make the next matching requests go wrong."""
        with self._lock:
            self._waiting.append((fault, fault.count))

    def clear(self) -> None:
        """Remove every fault."""
        with self._lock:
            self._waiting.clear()

    def take(self, path: str) -> Fault | None:
        """Return the fault for this request, if there is one, and count it as used."""
        with self._lock:
            for index, (fault, left) in enumerate(self._waiting):
                if fault.on in {path, "*"}:
                    self._waiting[index : index + 1] = [(fault, left - 1)] if left > 1 else []
                    return fault

            return None
