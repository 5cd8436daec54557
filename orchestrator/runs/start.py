"""What a workflow is started with, as its root keeps it: the input, and which earlier run it was started again from.

The root also says that what parts of the code begin at once is numbered by part. Of a run that an earlier release has
started it does not, and the run goes on as it was recorded.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final, Self

import msgspec

from orchestrator import stored_names
from orchestrator.errors import WorkflowFailed
from orchestrator.runs.root_ids import RootName, name_of_root
from orchestrator.text.strict_json import loads_strict
from orchestrator.tracing import trace_of

#: How parts are numbered.
_NUMBERED: Final = 1


def is_numbered_by_part(start: object) -> bool:
    """Return whether a run that was started like this numbers by part what its code begins at once."""
    match start:
        case {"parts": int(numbered)}:
            return numbered == _NUMBERED
        case _:
            return False


@dataclass(frozen=True, kw_only=True)
class Again:
    """That a run has the input of an earlier one: of the root `of`, started again by the key `by` for this reason."""

    of: str
    by: str
    reason: str

    @property
    def name(self) -> RootName:
        """Which workflow the earlier run is."""
        return name_of_root(self.of)

    @classmethod
    def read(cls, start: object) -> Self | None:
        """Return what a stored start says of it, None if it says nothing."""
        match start:
            case {"again": {"of": str(of), "by": str(by), "reason": str(reason)}}:
                return cls(of=of, by=by, reason=reason)
            case _:
                return None


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """What a workflow is started with: the input's JSON text, bound to this root so that no other root accepts it.

    `trace` is the traceparent of its start. `again` is set if it was started again from an earlier run.
    """

    root_id: str
    text: str
    trace: str | None = None
    again: Again | None = None

    @property
    def request(self) -> Any:
        """The input as a JSON value."""
        return loads_strict(self.text.encode())

    def stored(self) -> dict[str, Any]:
        """Return the form that is stored in the root's param."""
        stored: dict[str, Any] = {"countersign": stored_names.FORMAT, "root": self.root_id, "request": self.text}
        stored["parts"] = _NUMBERED

        if self.again is not None:
            stored["again"] = asdict(self.again)

        return stored if self.trace is None else {**stored, "trace": self.trace}

    @classmethod
    def read(cls, stored: object, *, root_id: str) -> Self:
        """Return what a root was started with.

        Raises:
            WorkflowFailed: Countersign did not write it, or it is the input of another root.
        """
        match stored:
            case {"countersign": stored_names.FORMAT, "root": str(root), "request": str(text)} if root == root_id:
                return cls(root_id=root_id, text=text, trace=trace_of(stored))
            case _:
                raise WorkflowFailed("the stored input is not one that a workflow was started with under this id")
