"""What the machine is, and whether it has time for us, so that a reader can tell whether two runs are comparable."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import statistics
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_SYNCS: Final = 50
_LOOK: Final = 0.3
_WORK: Final = {"n": 1, "text": "x" * 200, "list": list(range(20))}


def describe_machine(folder: Path) -> str:
    """Return the line; it includes the duration of a small synced write to the disk of `folder`."""
    times = []

    with (folder / "sync").open("wb", buffering=0) as file:
        for _ in range(_SYNCS):
            file.write(b"x" * 4096)
            began = time.perf_counter()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - began)

    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before, "
        f"Python {platform.python_version()}, fsync {statistics.median(times) * 1000:.2f} ms"
    )


def share_of_a_core(seconds: float = _LOOK) -> float:
    """Return which share of a core a busy loop gets: much less than 1 if other programs are running."""
    began, used = time.monotonic(), time.process_time()

    while time.monotonic() - began < seconds:
        pass

    return (time.process_time() - used) / (time.monotonic() - began)


def speed(seconds: float = _LOOK) -> float:
    """Return how often a second a fixed piece of work is done here now, in thousands.

    A machine that shares its processor with others becomes slower and faster by a third within minutes. Two rates can
    only be compared if each is divided by this.
    """
    began, count = time.monotonic(), 0

    while (used := time.monotonic() - began) < seconds:
        hashlib.sha256(json.dumps(_WORK).encode()).hexdigest()
        count += 1

    return count / used / 1000
