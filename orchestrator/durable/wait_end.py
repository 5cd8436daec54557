"""How a wait ends that nobody settles: an engine ends it at its deadline, with no value.

There are two forms of a wait. A plain promise becomes `rejected_timedout`. A timer with a delayed task, for engines
that do not end plain promises, becomes `resolved`. Both mean the same. One workflow may have waits of both forms: which
one a wait has is decided when it is first opened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from resonate.types import Value

if TYPE_CHECKING:
    from resonate.types import PromiseRecord


def ended_at_deadline(record: PromiseRecord) -> bool:
    """Whether an engine ended the wait of this record at its deadline. Any other rejection is somebody's doing."""
    if record.value.data is not None:
        return False

    match record.state:
        case "resolved":
            return True
        case "rejected_timedout":
            return record.settled_at is not None and record.settled_at >= record.timeout_at
        case _:
            return False


def without_error(record: PromiseRecord) -> PromiseRecord:
    """Return the record of a wait so that its workflow gets None for the end at the deadline, and no error."""
    if ended_at_deadline(record):
        return msgspec.structs.replace(record, state="resolved", value=Value())

    return record


def until_deadline(timeout_at: int) -> dict[str, str]:
    """Return the tag that delays a timer's task until its deadline, in milliseconds, where the engine honours that.

    The task has nothing to run, and without this an engine would announce it again and again until then.
    """
    return {"resonate:delay": str(timeout_at - 1)}
