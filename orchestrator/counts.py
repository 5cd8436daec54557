"""What happened in this process since it started, counted: the numbers behind the metrics.

A label is the name of a workflow, a step or a result, so their number follows from the code. If a program makes up
names as it runs, only the first ones get a count of their own.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Final, Literal

from orchestrator.errors import StepRefused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

type Counted = Literal[
    "workflows_started", "workflows_ended", "step_failures", "mails", "databricks_calls", "model_calls"
]

#: How a call of somebody else's service ended: done, refused for good, or to be tried again.
RESULTS: Final = ("ok", "refused", "unavailable")

#: The states in which a workflow can end, and what is asked of the Jobs API.
ENDS: Final = ("succeeded", "failed", "expired", "cancelled")
CALLS: Final = ("trigger", "read", "list", "output", "cancel")

#: How many different labels one counter keeps.
MOST_LABELS: Final = 1000

#: The label of everything beyond that.
OTHER: Final = "other"


class Counts:
    """Counters with labels. They may be read and counted up in any thread."""

    def __init__(self) -> None:
        self._lock: Final = threading.Lock()
        self._counted: Final[dict[Counted, dict[tuple[str, ...], int]]] = {}

    def add(self, counter: Counted, *labels: str) -> None:
        """Count one event under these labels."""
        with self._lock:
            counted = self._counted.setdefault(counter, {})

            if labels not in counted and len(counted) >= MOST_LABELS:
                labels = (OTHER,) * len(labels)

            counted[labels] = counted.get(labels, 0) + 1

    @contextlib.contextmanager
    def result(self, counter: Counted, *labels: str) -> Iterator[None]:
        """Count how the block ends, by a last label that is one of `RESULTS`. A cancelled block is not counted."""
        try:
            yield
        except Exception as error:
            self.add(counter, *labels, "refused" if isinstance(error, StepRefused) else "unavailable")
            raise

        self.add(counter, *labels, "ok")

    def of(self, counter: Counted) -> Mapping[tuple[str, ...], int]:
        """Return how many events were counted, by their labels."""
        with self._lock:
            return dict(self._counted.get(counter, {}))
