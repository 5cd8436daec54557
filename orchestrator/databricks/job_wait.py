"""What the wait for a run says about itself: which job, whose word counts, and which task's output is the result.

It stands in the record of the wait, so whoever finds the run's end, the watcher or a hint, judges it in the same way. A
wait for a callback says nothing, as in the releases that knew no other answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from orchestrator.callbacks.terms import Terms

if TYPE_CHECKING:
    from resonate.types import PromiseRecord

    from orchestrator.databricks.order import Answer


@dataclass(frozen=True, kw_only=True)
class JobWait:
    """The wait for a run. `output_of` is the key of the task whose output is the result, None for the last one."""

    answer: Answer = "callback"
    output_of: str | None = None

    def stored(self, promise_id: str) -> dict[str, Any]:
        """Return what the record of this wait is to hold."""
        about = {"answer": self.answer, "output_of": self.output_of}

        return Terms(link=self.answer != "run", keeps_later=True, about=about).stored(promise_id)

    @classmethod
    def read(cls, record: PromiseRecord) -> Self:
        """Return what the wait of this record says about itself."""
        match Terms.read(record).about:
            case {"answer": "run" | "either" as answer, "output_of": str() | None as output_of}:
                return cls(answer=answer, output_of=output_of)
            case _:
                return cls()
