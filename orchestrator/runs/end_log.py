"""The log line for the end of a workflow, written by the process that ended it, once the engine has recorded the end.

A line never holds a body, so of the message of an error only a text from the author's code is shown, and otherwise the
error's type and place. The workflow API has the message.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orchestrator.logs import log_line
from orchestrator.runs.root_ids import name_of_root
from orchestrator.stored_names import STATE_HEADER
from orchestrator.tracing import Tracing

if TYPE_CHECKING:
    from collections.abc import Callable

    from resonate.types import PromiseRecord, PromiseSettleReq

    from orchestrator.counts import Counts
    from orchestrator.runs.roots import Ending, State

logger = logging.getLogger(__name__)

#: How many workflows may have returned without the engine having recorded it yet. The SDK runs far fewer at once.
_MOST_UNRECORDED: Final = 10_000

_LEVELS: Final = {"succeeded": logging.INFO, "cancelled": logging.INFO}


@dataclass(frozen=True)
class CrashWatch:
    """A dependency of a worker: `watch` gets the root's id and the error of a workflow whose code raised unexpectedly.

    It must not raise. It is for a test that shows the error's text, which no log and no response does.
    """

    watch: Callable[[str, BaseException], object] = lambda *_: None


class EndLog:
    """Logs and counts the ends of workflows in this process.

    A workflow that reaches its own timeout is ended by the engine. The embedded engine reports that (`expired`); of
    another engine's workflows it is only known if their code ran at that moment.
    """

    def __init__(self, counts: Counts, tracing: Callable[[], Tracing] = Tracing) -> None:
        self._counts = counts
        self._tracing = tracing
        self._returned: dict[str, tuple[Ending, str | None]] = {}

    def returned(self, root_id: str, ending: Ending, trace: str | None = None) -> None:
        """Note how the code of a workflow ended. The engine does not know it yet, and may not accept it."""
        if len(self._returned) >= _MOST_UNRECORDED:
            del self._returned[next(iter(self._returned))]

        self._returned[root_id] = ending, trace

    def headers(self, asked: PromiseSettleReq) -> dict[str, str] | None:
        """Return the headers for the end of a workflow, by which an engine finds it; None for other ends."""
        ending, _ = self._returned.get(asked.id, (None, None))

        return None if ending is None or asked.state != "resolved" else {STATE_HEADER: ending.state}

    def recorded(self, asked: PromiseSettleReq, record: PromiseRecord) -> None:
        """Log the end of a workflow if the engine recorded what its code returned."""
        ending, trace = self._returned.pop(asked.id, (None, None))

        if ending is None or record.state != "resolved" or record.value.data != asked.value.data:
            return

        self.ended(record, ending.state, error=ending.shown, unexpected=ending.unexpected, trace=trace)

    def expired(self, root: PromiseRecord) -> None:
        """Log that this workflow reached its own timeout."""
        self.ended(root, "expired", error="the workflow reached its own timeout")

    def ended(
        self,
        root: PromiseRecord,
        state: State,
        *,
        error: str | None = None,
        unexpected: bool = False,
        trace: str | None = None,
    ) -> None:
        """Log and count how this workflow ended; `error` must be safe to show. `trace` is that of its start.

        Whoever settles a root in another way than by the workflow's own code calls this.
        """
        name = name_of_root(root.id)
        ended_at = max(root.settled_at or root.created_at, root.created_at)
        seconds = round((ended_at - root.created_at) / 1000, 3)
        fields = {**name.document(), "promise": root.id, "state": state, "seconds": seconds}
        reason = "" if error is None else f": {error}"
        level = logging.ERROR if unexpected else _LEVELS.get(state, logging.WARNING)

        if error is not None:
            fields["error"] = error

        self._counts.add("workflows_ended", name.workflow, state)
        self._tracing().record(
            f"workflow {name.workflow}",
            {"countersign.workflow": name.workflow, "countersign.id": name.id, "countersign.state": state},
            parent=trace,
            started_at=root.created_at,
            ended_at=ended_at,
            failed=None if state == "succeeded" else state,
        )
        log_line(logger, level, f"workflow {name} {state}{reason} ({seconds:.1f} s)", fields)
